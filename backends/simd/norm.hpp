// SPDX-License-Identifier: MIT
// Batch norm family of simd, and the per-channel passes it shares with bias gradients.
#pragma once

#include "backends/api/norm.hpp"
#include "backends/simd/context.hpp"

namespace isaribi::simd {

/// db[c] (+)= sum of dy over all but the last axis, f64 inside, in an order that depends on the
/// shape only. dy f32, db f32 or f64.
void bias_gradient(Context& context, const core::Tensor& dy, const core::Tensor& db,
                   bool accumulate);

class Norm final : public api::NormOps {
 public:
  explicit Norm(Context& context) : context_(context) {}

 private:
  void do_statistics(const api::BatchNormStatistics& args) override;
  void do_normalize(const api::BatchNormNormalize& args) override;
  void do_backward_reduce(const api::BatchNormBackwardReduce& args) override;
  void do_backward_apply(const api::BatchNormBackwardApply& args) override;
  void do_fold(const api::BatchNormFold& args) override;

  Context& context_;
};

/// Elements after which channels and whole vectors repeat together: the period of a ChannelPass.
std::int64_t channel_period(std::int64_t channels, int lanes);

}  // namespace isaribi::simd
