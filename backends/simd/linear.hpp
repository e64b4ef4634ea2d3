// SPDX-License-Identifier: MIT
// Fully connected layers of simd, on the register tiles of convolution.
#pragma once

#include "backends/api/linear.hpp"
#include "backends/simd/context.hpp"

namespace isaribi::simd {

class Linear final : public api::LinearOps {
 public:
  explicit Linear(Context& context) : context_(context) {}

 private:
  void do_forward(const api::LinearForward& args) override;
  void do_backward_data(const api::LinearBackwardData& args) override;
  void do_backward_weights(const api::LinearBackwardWeights& args) override;

  Context& context_;
};

}  // namespace isaribi::simd
