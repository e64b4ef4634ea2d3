// SPDX-License-Identifier: MIT
// Optimizer updates of simd: f32 weights, gradients f32 or f64.
#pragma once

#include "backends/api/update.hpp"
#include "backends/simd/context.hpp"

namespace isaribi::simd {

class Update final : public api::UpdateOps {
 public:
  explicit Update(Context& context) : context_(context) {}

 private:
  void do_sgd(const api::SgdUpdate& args) override;
  void do_adam(const api::AdamUpdate& args) override;

  Context& context_;
};

}  // namespace isaribi::simd
