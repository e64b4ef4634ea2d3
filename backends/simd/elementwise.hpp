// SPDX-License-Identifier: MIT
// Elementwise family of simd: f32, the activations and reductions of a training step.
#pragma once

#include "backends/api/elementwise.hpp"
#include "backends/simd/context.hpp"
#include "backends/simd/parallel.hpp"

namespace isaribi::simd {

/// Some rows of args.y, by the calling thread; in f64 only copies.
void concat_rows(const api::Concat& args, Range rows, const Kernels& kernels);

class Elementwise final : public api::ElementwiseOps {
 public:
  explicit Elementwise(Context& context) : context_(context) {}

 private:
  void do_activation_forward(const api::ActivationForward& args) override;
  void do_activation_backward(const api::ActivationBackward& args) override;
  void do_add(const api::Add& args) override;
  void do_multiply(const api::Multiply& args) override;
  void do_axpby(const api::Axpby& args) override;
  void do_fill(const api::Fill& args) override;
  void do_add_bias(const api::AddBias& args) override;
  void do_bias_gradient(const api::BiasGradient& args) override;
  void do_concat(const api::Concat& args) override;
  void do_split(const api::Split& args) override;
  double do_dot(const core::Tensor& a, const core::Tensor& b) override;
  void do_argmax(const core::Tensor& x, const core::Tensor& index) override;

  Context& context_;
};

}  // namespace isaribi::simd
