// SPDX-License-Identifier: MIT
// The convolution kernels that conv.cpp chooses among, beside gather.hpp. T: float, double; Sum: T
// or double.
#pragma once

#include "backends/api/conv.hpp"
#include "backends/kokkos/queue.hpp"

namespace isaribi::kokkos {

/// Extents of a convolution, from its operands.
struct ConvExtents {
  Index n, h, w, i;  ///< x: [n, h, w, i]
  Index p, q, o;     ///< y: [n, p, q, o]
  Index kh, kw;
  api::ConvGeometry geometry;
  Index i_group() const { return i / geometry.groups; }
  Index o_group() const { return o / geometry.groups; }
  /// One input and one output channel per group.
  bool depthwise() const { return i == geometry.groups && o == geometry.groups; }
};

inline ConvExtents extents_of(const core::Tensor& x, const core::Tensor& w, const core::Tensor& y,
                              const api::ConvGeometry& geometry) {
  const core::Shape &sx = x.shape(), &sw = w.shape(), &sy = y.shape();
  return {sx[0], sx[1], sx[2], sx[3], sy[1], sy[2], sy[3], sw[1], sw[2], geometry};
}

/// dw (+)= gradient of the weights, by blocks of kSampleBlock samples: T inside a block, f64 across
/// blocks.
template <typename T, typename Sum>
void conv_weights(Queue& queue, const ConvExtents& e, const T* x, const T* dy, Sum* dw,
                  bool accumulate);

template <typename T>
void depthwise_forward(Queue& queue, const ConvExtents& e, const T* x, const T* w, const T* bias,
                       bool relu, T* y);
template <typename T>
void depthwise_backward_data(Queue& queue, const ConvExtents& e, const T* dy, const T* w, T* dx);
template <typename T, typename Sum>
void depthwise_weights(Queue& queue, const ConvExtents& e, const T* x, const T* dy, Sum* dw,
                       bool accumulate);

/// db (+)= sum of dy over rows, in f64 inside. dy: [rows, channels].
template <typename T, typename Sum>
void sum_rows(Queue& queue, const char* label, Index rows, Index channels, const T* dy, Sum* db,
              bool accumulate);

}  // namespace isaribi::kokkos
