// SPDX-License-Identifier: MIT
// Convolution (cross-correlation, as in every deep-learning library), NHWC activations, OHWI
// weights. y[n,p,q,o] = b[o] + sum_{r,s,i} w[o,r,s,i] x[n, p*stride_h - pad_top + r*dilation_h,
// q*stride_w - pad_left + s*dilation_w, g*I/groups + i] with g = o / (O/groups); taps that fall
// outside x contribute nothing.
#pragma once

#include <cstdint>

#include "backends/api/op.hpp"
#include "core/tensor.hpp"

namespace isaribi::api {

/// Weight gradients are summed over the samples in blocks of this many consecutive samples: inside
/// a block in the element type of the operands, across blocks in f64. The result therefore depends
/// on the number of ranks and threads only through the order of f64 additions.
inline constexpr std::int64_t kSampleBlock = 32;

struct ConvGeometry {
  std::int64_t stride_h = 1, stride_w = 1;
  std::int64_t pad_top = 0, pad_left = 0, pad_bottom = 0, pad_right = 0;
  std::int64_t dilation_h = 1, dilation_w = 1;
  std::int64_t groups = 1;
  bool operator==(const ConvGeometry&) const = default;

  /// Output extents for an input of in_h x in_w and a kernel of kh x kw; < 1 when the kernel does
  /// not fit.
  std::int64_t out_h(std::int64_t in_h, std::int64_t kh) const {
    return windows(in_h + pad_top + pad_bottom - dilation_h * (kh - 1) - 1, stride_h);
  }
  std::int64_t out_w(std::int64_t in_w, std::int64_t kw) const {
    return windows(in_w + pad_left + pad_right - dilation_w * (kw - 1) - 1, stride_w);
  }

 private:
  // Positions of a window that can move by `room`; the division of a negative room would round up.
  static std::int64_t windows(std::int64_t room, std::int64_t stride) {
    return room < 0 ? 0 : room / stride + 1;
  }
};

struct ConvForward {
  core::Tensor x;     ///< [N, H, W, I]
  core::Tensor w;     ///< [O, KH, KW, I / groups]
  core::Tensor bias;  ///< [O], or undefined for none
  core::Tensor y;     ///< out: [N, P, Q, O]
  ConvGeometry geometry;
  Activation activation = Activation::none;  ///< none or relu, applied after the bias
};

struct ConvBackwardData {
  core::Tensor dy;  ///< [N, P, Q, O]
  core::Tensor w;   ///< [O, KH, KW, I / groups]
  core::Tensor dx;  ///< out: [N, H, W, I]
  ConvGeometry geometry;
};

struct ConvBackwardWeights {
  core::Tensor x;   ///< [N, H, W, I]
  core::Tensor dy;  ///< [N, P, Q, O]
  core::Tensor
      dw;  ///< out: [O, KH, KW, I / groups], the type of x or f64; summed as kSampleBlock says
  core::Tensor db;  ///< out: [O], type of dw, sum of dy over N, P, Q; or undefined for none
  ConvGeometry geometry;
  bool accumulate = false;  ///< add to dw and db instead of replacing them
};

/// Convolution of one backend. The public functions check shapes and types (ShapeError), then call
/// the virtual ones. Types: f32 and f64. An empty batch gives an empty y and dx, and dw = db = 0
/// (or unchanged when accumulating).
class ConvOps {
 public:
  virtual ~ConvOps() = default;
  void forward(const ConvForward& args);
  void backward_data(const ConvBackwardData& args);
  void backward_weights(const ConvBackwardWeights& args);

 private:
  virtual void do_forward(const ConvForward& args) = 0;
  virtual void do_backward_data(const ConvBackwardData& args) = 0;
  virtual void do_backward_weights(const ConvBackwardWeights& args) = 0;
};

}  // namespace isaribi::api
