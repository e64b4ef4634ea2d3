// SPDX-License-Identifier: MIT
#include "comm/allreduce/containment.hpp"

#include <algorithm>
#include <optional>

#include "core/error.hpp"

namespace isaribi::comm {
namespace {

constexpr int kParts[] = {2, 4};  // a half, a quarter
constexpr int kFewestRanks = 3;   // with two there is one hierarchy

bool comes_together(const Topology& topology, const std::vector<HierarchyLevel>& levels) {
  try {
    const Hierarchy fits(topology.order, levels);
    return true;
  } catch (const core::UsageError&) {
    return false;
  }
}

/// Whether the rank at `position` belongs to one of `parts` parts: that of rank 0.
bool takes_part(const Topology& topology, int parts, int position) {
  const auto& kinds = topology.kinds;
  const auto node = std::find(kinds.begin(), kinds.end(), "node") - kinds.begin();
  const bool listed = node < static_cast<std::ptrdiff_t>(kinds.size());
  if (topology.nodes > 1 && listed) {  // rank 0 is on the first one
    const auto& nodes = topology.order.domains[static_cast<std::size_t>(node)];
    return nodes[static_cast<std::size_t>(position)] < topology.nodes / parts;
  }
  const auto& order = topology.order.ranks;
  const auto first = std::find(order.begin(), order.end(), 0) - order.begin();
  const int size = std::max(topology.ranks() / parts, 1);
  return position / size == static_cast<int>(first) / size;
}

/// The fastest hierarchy of a size, of those with `levels` where any are named.
std::optional<PlanResult> fastest(const std::vector<PlanResult>& results, std::int64_t bytes,
                                  const std::vector<HierarchyLevel>* levels = nullptr) {
  std::optional<PlanResult> best;
  for (const PlanResult& r : results) {
    if (r.bytes != bytes || r.plan.library()) continue;
    if (levels != nullptr && r.plan.levels != *levels) continue;
    if (!best || r.measured.median < best->measured.median) best = r;
  }
  return best;
}

/// On the ranks of one part.
void measure_part(Communicator& comm, const Topology& topology, const TunerReport& whole,
                  const TunerOptions& options, ContainmentReport& report) {
  PartReport part{topology.ranks(), tune(comm, topology, options).results};
  for (const std::int64_t bytes : options.sizes) {
    const auto winner = fastest(whole.results, bytes);
    if (!winner) continue;
    const std::vector<HierarchyLevel> levels = cut_down(winner->plan.levels, topology);
    if (!comes_together(topology, levels)) continue;
    if (!fastest(part.results, bytes, &levels)) {
      TunerOptions only = options;
      only.sizes = {bytes};
      only.plans = {{levels, winner->plan.segment_bytes}};
      const std::vector<PlanResult> more = tune(comm, topology, only).results;
      std::copy_if(more.begin(), more.end(), std::back_inserter(part.results),
                   [](const PlanResult& r) { return !r.plan.library(); });
    }
    const PlanResult cut = *fastest(part.results, bytes, &levels),
                     best = *fastest(part.results, bytes);
    report.rows.push_back({bytes, topology.ranks(), winner->plan, cut.plan, best.plan,
                           cut.measured.median, best.measured.median});
  }
  report.parts.push_back(std::move(part));
}

}  // namespace

std::vector<HierarchyLevel> cut_down(const std::vector<HierarchyLevel>& levels,
                                     const Topology& part) {
  std::vector<HierarchyLevel> kept;
  for (HierarchyLevel level : levels) {
    kept.push_back(level);
    // As small as it can be; larger than what is missing where groups are uneven.
    for (int size = 2; size <= std::min(level.size, part.ranks()); ++size) {
      const bool pair = size == 2 && level.exchange == Exchange::ring;  // as in candidate_levels
      kept.back() = {pair ? Exchange::direct : level.exchange, size};
      if (comes_together(part, kept)) return kept;
    }
    kept.back() = level;
  }
  return kept;
}

ContainmentReport measure_containment(Communicator& comm, const Topology& topology,
                                      const TunerReport& whole, const TunerOptions& options,
                                      const std::map<std::string, std::string>& rack_of_host) {
  ContainmentReport report;
  const Hierarchy positions(topology.order, {{Exchange::direct, topology.ranks()}});
  for (const int parts : kParts) {
    const bool mine = takes_part(topology, parts, positions.position_of(comm.rank()));
    const auto part = comm.split(mine ? 0 : 1);
    if (mine && part->size() >= kFewestRanks) {
      const Topology smaller = discover_topology(*part, rack_of_host);
      measure_part(*part, smaller, whole, options, report);
    }
    comm.barrier();
  }
  return report;
}

}  // namespace isaribi::comm
