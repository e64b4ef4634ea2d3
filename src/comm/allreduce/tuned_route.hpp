// SPDX-License-Identifier: MIT
// Sums onto owners and copies from them along hierarchies, each size by the plan that a tuning
// chose for sums of that size on all ranks: halves of the same allreduce.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>

#include "comm/allreduce/tuner.hpp"
#include "comm/owner_route.hpp"

namespace isaribi::comm {

class TunedRoute final : public OwnerRoute {
 public:
  /// `comm` must outlive it; `tuning` has at least one entry. The first exchange of a size and type
  /// is collective also in that it waits for all ranks.
  TunedRoute(Communicator& comm, RankOrder order, Tuning tuning);
  std::string description() const override;
  int ranks() const override { return comm_.size(); }
  bool sums(std::int64_t bytes) const override;
  Request start_sums(core::Tensor all, std::span<const std::int64_t> counts, core::Tensor mine,
                     core::DType wire) override;
  bool copies(std::int64_t bytes) const override;
  Request start_copies(core::Tensor mine, std::span<const std::int64_t> counts,
                       core::Tensor all) override;
  /// Along the levels above nodes; where none of a plan's levels ends at them, a ring.
  std::unique_ptr<OwnerRoute> between_nodes(Communicator& leaders,
                                            std::span<const int> first) const override;

 private:
  bool sums(const PlanChoice& plan) const;
  ScheduleRunner& runner(const PlanChoice& plan, core::DType type, core::DType wire);

  Communicator& comm_;
  RankOrder order_;
  Tuning tuning_;
  /// By PlanChoice::text() and type on the wire.
  std::map<std::pair<std::string, core::DType>, std::unique_ptr<ScheduleRunner>> runners_;
};

}  // namespace isaribi::comm
