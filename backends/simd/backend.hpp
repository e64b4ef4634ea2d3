// SPDX-License-Identifier: MIT
// The simd backend: f32 kernels of its own where time is spent, BLAS and LAPACK for dense linear
// algebra, everything else on its fallback.
#pragma once

#include <memory>
#include <string>

#include "backends/simd/context.hpp"
#include "backends/simd/conv.hpp"
#include "backends/simd/elementwise.hpp"
#include "backends/simd/factor.hpp"
#include "backends/simd/linalg.hpp"
#include "backends/simd/linear.hpp"
#include "backends/simd/loss.hpp"
#include "backends/simd/norm.hpp"
#include "backends/simd/pool.hpp"
#include "backends/simd/update.hpp"

namespace isaribi::simd {

class SimdBackend final : public api::Backend {
 public:
  /// `fallback` must work on host memory. @throws UsageError when it does not.
  SimdBackend(Level level, std::unique_ptr<api::Backend> fallback, core::Log& log);

  std::string_view name() const override { return "simd"; }
  std::string description() const override;
  bool owns(api::Op op, core::DType type) const override { return simd::owns(op, type); }
  core::MemoryResource& memory() override { return core::host_memory(); }
  void copy(const core::Tensor& src, const core::Tensor& dst) override;
  void synchronize() override { context_.fallback->synchronize(); }
  std::unique_ptr<api::Backend> fork() override;

  api::ConvOps& conv() override { return conv_; }
  api::LinearOps& linear() override { return linear_; }
  api::LinalgOps& linalg() override { return linalg_; }
  api::FactorOps& factor() override { return factor_; }
  api::NormOps& norm() override { return norm_; }
  api::PoolOps& pool() override { return pool_; }
  api::ElementwiseOps& elementwise() override { return elementwise_; }
  api::LossOps& loss() override { return loss_; }
  api::RandomOps& random() override { return context_.fallback->random(); }
  api::UpdateOps& update() override { return update_; }
  api::CastOps& cast() override { return context_.fallback->cast(); }

 private:
  std::unique_ptr<api::KroneckerPlan> do_plan_kronecker(
      std::vector<api::KroneckerProduct> products) override;

  Context context_;
  Conv conv_{context_};
  Linear linear_{context_};
  Linalg linalg_{context_};
  Factor factor_{context_};
  Norm norm_{context_};
  Pool pool_{context_};
  Elementwise elementwise_{context_};
  Loss loss_{context_};
  Update update_{context_};
};

}  // namespace isaribi::simd
