// SPDX-License-Identifier: MIT
// Losses of simd: softmax cross-entropy in f32, the rest falls back.
#pragma once

#include "backends/api/loss.hpp"
#include "backends/simd/context.hpp"

namespace isaribi::simd {

class Loss final : public api::LossOps {
 public:
  explicit Loss(Context& context) : context_(context) {}

 private:
  void do_softmax_cross_entropy(const api::Loss& args) override;
  void do_mean_squared_error(const api::Loss& args) override;
  void do_bernoulli_cross_entropy(const api::Loss& args) override;
  void do_one_hot(const api::OneHot& args) override;

  Context& context_;
};

}  // namespace isaribi::simd
