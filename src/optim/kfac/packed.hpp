// SPDX-License-Identifier: MIT
// Passes over packed statistics, on the host.
#pragma once

#include "core/tensor.hpp"

namespace isaribi::optim::kfac {

/// Whether all elements (f32 or f64, host) are finite.
bool all_finite(const core::Tensor& t);

/// Whether packed second moments are finite, [groups] triangles of `dim`: |E[x y]|^2 <= E[x^2]
/// E[y^2], so that only diagonals are read.
bool moments_finite(const core::Tensor& packed, std::int64_t groups, std::int64_t dim);

/// Sums of squares that compare a vector with two older ones.
struct Distances {
  double to_last = 0, last = 0;      ///< |x - y|^2, |y|^2
  double to_before = 0, before = 0;  ///< |x - z|^2, |z|^2
};

/// average = keep average + weight fresh. `fresh`: f32 or f64, average: f64, of one length, host.
void mix(double keep, double weight, const core::Tensor& fresh, const core::Tensor& average);

/// Of `x` to `last` and to `before_last`, which then becomes x. All f64, of one length, host.
Distances compare_and_keep(const core::Tensor& x, const core::Tensor& last,
                           const core::Tensor& before_last);

}  // namespace isaribi::optim::kfac
