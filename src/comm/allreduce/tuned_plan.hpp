// SPDX-License-Identifier: MIT
// Gradient buckets summed along hierarchies, each size by the plan that a tuning chose for it.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "comm/allreduce/tuned_route.hpp"
#include "comm/reduction_plan.hpp"

namespace isaribi::comm {

class TunedPlan final : public AllReducePlan {
 public:
  /// Collective. `comm` must outlive it; `tuning` has at least one entry.
  TunedPlan(Communicator& comm, const Topology& topology, Tuning tuning,
            std::optional<core::DType> wire);
  std::string name() const override { return "hierarchy"; }
  std::string description() const override;
  OwnerRoute* owner_route() override { return &route_; }

 private:
  Request do_start(core::Tensor bucket, core::Tensor residual) override;

  Communicator& comm_;
  Tuning tuning_;
  std::optional<core::DType> wire_;
  std::map<std::string, std::unique_ptr<ScheduleRunner>> runners_;  ///< by PlanChoice::text()
  TunedRoute route_;
};

}  // namespace isaribi::comm
