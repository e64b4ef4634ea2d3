// SPDX-License-Identifier: MIT
// The patches of api::PatchCovariance and api::PatchMean, and the kernels on them.
#pragma once

#include "backends/api/factor.hpp"
#include "backends/kokkos/queue.hpp"

namespace isaribi::kokkos {

/// Extents of one call. A patch has `length` elements (r, s, i), with a last 1 where `bias`.
struct PatchExtents {
  Index n, h, w, channels, per;
  Index kh, kw, p, q, length;
  bool bias;
  api::ConvGeometry g;

  template <typename Args>
  explicit PatchExtents(const Args& a)
      : n(a.x.shape()[0]),
        h(a.x.shape()[1]),
        w(a.x.shape()[2]),
        channels(a.x.shape()[3]),
        per(channels / a.geometry.groups),
        kh(a.kh),
        kw(a.kw),
        p(a.geometry.out_h(h, kh)),
        q(a.geometry.out_w(w, kw)),
        length(kh * kw * per + (a.bias ? 1 : 0)),
        bias(a.bias),
        g(a.geometry) {}
};

/// out[n, group, i] = scale sum over positions of element i of the patch, summed in f64.
/// patches.cpp
template <typename T, typename Out>
void patch_sums(Queue& queue, const PatchExtents& e, const T* x, double scale, Out* out);

/// api::FactorOps::patch_covariance. covariance.cpp
template <typename T, typename Sum>
void patch_covariance(Queue& queue, const PatchExtents& e, const T* x, double scale, Sum* a,
                      bool packed, bool accumulate);

}  // namespace isaribi::kokkos
