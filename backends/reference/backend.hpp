// SPDX-License-Identifier: MIT
// The reference backend: host memory, every call done when it returns.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "backends/reference/ops.hpp"

namespace isaribi::reference {

class ReferenceBackend final : public api::Backend {
 public:
  std::string_view name() const override { return "reference"; }
  std::string description() const override;
  /// Everything, on every type that the interface allows for it.
  bool owns(api::Op op, core::DType type) const override;

  core::MemoryResource& memory() override { return core::host_memory(); }
  void copy(const core::Tensor& src, const core::Tensor& dst) override;
  void synchronize() override {}
  std::unique_ptr<api::Backend> fork() override { return std::make_unique<ReferenceBackend>(); }

  api::ConvOps& conv() override { return conv_; }
  api::LinearOps& linear() override { return linear_; }
  api::LinalgOps& linalg() override { return linalg_; }
  api::FactorOps& factor() override { return factor_; }
  api::NormOps& norm() override { return norm_; }
  api::PoolOps& pool() override { return pool_; }
  api::ElementwiseOps& elementwise() override { return elementwise_; }
  api::LossOps& loss() override { return loss_; }
  api::RandomOps& random() override { return random_; }
  api::UpdateOps& update() override { return update_; }
  api::CastOps& cast() override { return cast_; }

 private:
  Conv conv_;
  Linear linear_;
  Linalg linalg_;
  Factor factor_;
  Norm norm_;
  Pool pool_;
  Elementwise elementwise_;
  Loss loss_;
  Random random_;
  Update update_;
  Cast cast_;
};

}  // namespace isaribi::reference
