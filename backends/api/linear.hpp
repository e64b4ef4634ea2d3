// SPDX-License-Identifier: MIT
// Fully connected layers: y = x W^T + b on [N, I] -> [N, O].
#pragma once

#include "backends/api/op.hpp"
#include "core/tensor.hpp"

namespace isaribi::api {

struct LinearForward {
  core::Tensor x;                            ///< [N, I]
  core::Tensor w;                            ///< [O, I]
  core::Tensor bias;                         ///< [O], or undefined for none
  core::Tensor y;                            ///< out: [N, O]
  Activation activation = Activation::none;  ///< none or relu, applied after the bias
};

struct LinearBackwardData {
  core::Tensor dy;  ///< [N, O]
  core::Tensor w;   ///< [O, I]
  core::Tensor dx;  ///< out: [N, I] = dy W
};

struct LinearBackwardWeights {
  core::Tensor x;   ///< [N, I]
  core::Tensor dy;  ///< [N, O]
  core::Tensor
      dw;  ///< out: [O, I] = dy^T x, the type of x or f64; summed as kSampleBlock (conv.hpp) says
  core::Tensor db;          ///< out: [O], type of dw; or undefined for none
  bool accumulate = false;  ///< add to dw and db instead of replacing them
};

/// Linear layers of one backend; same rules as ConvOps. Types: f32 and f64.
class LinearOps {
 public:
  virtual ~LinearOps() = default;
  void forward(const LinearForward& args);
  void backward_data(const LinearBackwardData& args);
  void backward_weights(const LinearBackwardWeights& args);

 private:
  virtual void do_forward(const LinearForward& args) = 0;
  virtual void do_backward_data(const LinearBackwardData& args) = 0;
  virtual void do_backward_weights(const LinearBackwardWeights& args) = 0;
};

}  // namespace isaribi::api
