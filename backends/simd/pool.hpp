// SPDX-License-Identifier: MIT
// Pooling family of simd.
#pragma once

#include "backends/api/pool.hpp"
#include "backends/simd/context.hpp"

namespace isaribi::simd {

class Pool final : public api::PoolOps {
 public:
  explicit Pool(Context& context) : context_(context) {}

 private:
  void do_max_forward(const api::MaxPoolForward& args) override;
  void do_max_backward(const api::MaxPoolBackward& args) override;
  void do_average_forward(const api::AveragePoolForward& args) override;
  void do_average_backward(const api::AveragePoolBackward& args) override;
  void do_global_average_forward(const api::GlobalAverageForward& args) override;
  void do_global_average_backward(const api::GlobalAverageBackward& args) override;

  Context& context_;
};

}  // namespace isaribi::simd
