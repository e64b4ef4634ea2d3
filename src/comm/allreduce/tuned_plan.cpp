// SPDX-License-Identifier: MIT
#include "comm/allreduce/tuned_plan.hpp"

#include <utility>

namespace isaribi::comm {

TunedPlan::TunedPlan(Communicator& comm, const Topology& topology, Tuning tuning,
                     std::optional<core::DType> wire)
    : comm_(comm), tuning_(std::move(tuning)), wire_(wire), route_(comm, topology.order, tuning_) {
  for (const TuningEntry& entry : tuning_.entries) {
    std::unique_ptr<ScheduleRunner>& runner = runners_[entry.plan.text()];
    if (!entry.plan.library() && !runner) runner = make_runner(comm, topology, entry.plan, wire);
  }
}

std::string TunedPlan::description() const {
  std::string text;
  for (const TuningEntry& entry : tuning_.entries) {
    if (!text.empty()) text += ", ";
    if (entry.bytes > 0) text += bytes_to_text(entry.bytes) + ": ";
    text += entry.plan.text();
  }
  if (wire_) text += "; " + std::string(core::name_of(*wire_)) + " between nodes";
  return text;
}

Request TunedPlan::do_start(core::Tensor bucket, core::Tensor residual) {
  const PlanChoice& plan = tuning_.choose(static_cast<std::int64_t>(bucket.bytes()));
  if (plan.library()) return comm_.start_all_reduce(std::move(bucket), ReduceOp::sum);
  return runners_.at(plan.text())->start(std::move(bucket), std::move(residual));
}

}  // namespace isaribi::comm
