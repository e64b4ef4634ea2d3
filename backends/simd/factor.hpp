// SPDX-License-Identifier: MIT
// The statistics of K-FAC in simd: second moments of patches and of batch norm in f32; the rest
// falls back.
#pragma once

#include <memory>
#include <vector>

#include "backends/api/factor.hpp"
#include "backends/simd/context.hpp"
#include "backends/simd/factor_columns.hpp"
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

  /// The cheapest way for one kind of layer, kept from call to call: a plan takes as long as the
  /// factor of a small layer.
  struct Way {
    std::int64_t h, w, channels, kh, kw;
    bool bias;
    api::ConvGeometry geometry;
    bool operator==(const Way&) const = default;
  };
  struct Planned {
    Way way;
    FactorPlan plan;
    ColumnPlan columns;
    bool by_columns = false;
  };
  Planned& planned(const api::PatchCovariance& args);
  /// The unscaled sums: without the row of a bias, and with it.
  FactorSums sum_products(const api::PatchCovariance& args);
  FactorSums sum_patches(const api::PatchCovariance& args);

  Context& context_;
  std::vector<std::unique_ptr<Planned>> plans_;
};

}  // namespace isaribi::simd
