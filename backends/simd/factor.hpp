// SPDX-License-Identifier: MIT
// The statistics of K-FAC in simd: second moments of patches and of batch norm in f32; the rest
// falls back.
#pragma once

#include "backends/api/factor.hpp"
#include "backends/simd/context.hpp"
#include "backends/simd/factor_plan.hpp"

namespace isaribi::simd {

class Factor final : public api::FactorOps {
 public:
  explicit Factor(Context& context) : context_(context) {}

 private:
  void do_patch_covariance(const api::PatchCovariance& args) override;
  void do_patch_mean(const api::PatchMean& args) override;
  void do_norm_fisher(const api::NormFisher& args) override;
  void do_fisher_vectors(const api::FisherVectors& args) override;

  Context& context_;
  FactorPlan plan_;
};

}  // namespace isaribi::simd
