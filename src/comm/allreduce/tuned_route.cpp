// SPDX-License-Identifier: MIT
#include "comm/allreduce/tuned_route.hpp"

#include <algorithm>

#include "comm/agreement.hpp"

namespace isaribi::comm {

TunedRoute::TunedRoute(Communicator& comm, RankOrder order, Tuning tuning)
    : comm_(comm), order_(std::move(order)), tuning_(std::move(tuning)) {}

std::string TunedRoute::description() const {
  std::string text;
  for (const TuningEntry& entry : tuning_.entries) {
    if (!text.empty()) text += ", ";
    if (entry.bytes > 0) text += bytes_to_text(entry.bytes) + ": ";
    if (entry.plan.library()) {
      text += "sums by direct exchange, copies by MPI_Iallgatherv";
    } else if (sums(entry.plan)) {
      text += "sums and copies along " + entry.plan.text();
    } else {
      text += "sums by direct exchange (" + to_text(entry.plan.levels) +
              " adds in an order that may depend on owners), copies along " + entry.plan.text();
    }
  }
  return text;
}

bool TunedRoute::sums(const PlanChoice& plan) const {
  const bool black_box =  // which sends no narrow types
      std::any_of(plan.levels.begin(), plan.levels.end(),
                  [](const HierarchyLevel& l) { return is_black_box(l.exchange); });
  return !plan.library() && !black_box && Hierarchy(order_, plan.levels).sum_signature() != 0;
}

bool TunedRoute::sums(std::int64_t bytes) const {
  return sums(tuning_.choose(bytes));
}

bool TunedRoute::copies(std::int64_t bytes) const {
  return !tuning_.choose(bytes).library();
}

ScheduleRunner& TunedRoute::runner(const PlanChoice& plan, core::DType type, core::DType wire) {
  std::unique_ptr<ScheduleRunner>& known = runners_[{plan.text(), wire}];
  if (!known) {
    ScheduleOptions options;
    // Segments are as long on the wire as the plan says.
    options.segment_bytes = plan.segment_bytes * static_cast<std::int64_t>(core::size_of(type)) /
                            static_cast<std::int64_t>(core::size_of(wire));
    if (wire != type) options.wire = wire;
    try {
      known = std::make_unique<ScheduleRunner>(comm_, order_, plan.levels, options);
    } catch (const CollectiveError&) {
      // No room left to share: by messages, which add in the same order.
      std::vector<HierarchyLevel> levels = plan.levels;
      for (HierarchyLevel& level : levels) {
        if (level.exchange == Exchange::shared) level.exchange = Exchange::direct;
      }
      if (levels == plan.levels) throw;
      known = std::make_unique<ScheduleRunner>(comm_, order_, levels, options);
    }
  }
  return *known;
}

Request TunedRoute::start_sums(core::Tensor all, std::span<const std::int64_t> counts,
                               core::Tensor mine, core::DType wire) {
  const auto bytes = all.count() * static_cast<std::int64_t>(core::size_of(wire));
  return runner(tuning_.choose(bytes), core::DType::f64, wire)
      .start_reduce_scatter_v(std::move(all), counts, std::move(mine));
}

Request TunedRoute::start_copies(core::Tensor mine, std::span<const std::int64_t> counts,
                                 core::Tensor all) {
  const PlanChoice& plan = tuning_.choose(static_cast<std::int64_t>(all.bytes()));
  return runner(plan, core::DType::i32, core::DType::i32)
      .start_all_gather_v(std::move(mine), counts, std::move(all));
}

}  // namespace isaribi::comm
