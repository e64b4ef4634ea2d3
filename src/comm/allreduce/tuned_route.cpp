// SPDX-License-Identifier: MIT
#include "comm/allreduce/tuned_route.hpp"

#include <algorithm>

#include "comm/agreement.hpp"

namespace isaribi::comm {
namespace {

/// @param first rank of each node
bool groups_are_nodes(const Hierarchy& hierarchy, int l, std::span<const int> first) {
  if (hierarchy.groups(l).size() != first.size()) return false;
  for (std::size_t n = 0; n < first.size(); ++n) {
    const int end = n + 1 < first.size() ? first[n + 1] : hierarchy.ranks();
    for (int r = first[n]; r < end; ++r) {
      if (hierarchy.group_of(l, hierarchy.position_of(r)) !=
          hierarchy.group_of(l, hierarchy.position_of(first[n])))
        return false;
    }
  }
  return true;
}

}  // namespace

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

std::unique_ptr<OwnerRoute> TunedRoute::between_nodes(Communicator& leaders,
                                                      std::span<const int> first) const {
  const int nodes = leaders.size();
  RankOrder order = RankOrder::flat(nodes);
  const Hierarchy machine(order_, {{Exchange::ring, ranks()}});
  std::sort(order.ranks.begin(), order.ranks.end(), [&](int a, int b) {
    return machine.position_of(first[static_cast<std::size_t>(a)]) <
           machine.position_of(first[static_cast<std::size_t>(b)]);
  });
  Tuning tuning = tuning_;
  for (TuningEntry& entry : tuning.entries) {
    if (entry.plan.library()) continue;
    const Hierarchy hierarchy(order_, entry.plan.levels);
    std::vector<HierarchyLevel>& levels = entry.plan.levels;
    for (int l = 0; l < hierarchy.levels(); ++l) {
      if (!groups_are_nodes(hierarchy, l, first)) continue;
      levels.erase(levels.begin(), levels.begin() + l + 1);
      break;
    }
    if (static_cast<int>(levels.size()) == hierarchy.levels()) levels = {{Exchange::ring, nodes}};
  }
  return std::make_unique<TunedRoute>(leaders, std::move(order), std::move(tuning));
}

}  // namespace isaribi::comm
