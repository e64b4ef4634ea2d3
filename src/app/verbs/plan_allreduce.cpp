// SPDX-License-Identifier: MIT
#include "app/verbs/plan_allreduce.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <vector>

#include "comm/allreduce/plan_choice.hpp"
#include "core/error.hpp"

namespace isaribi::app {
namespace {

constexpr std::int64_t kMostSegments = 256;
constexpr int kWindow = 2;

struct Row {
  double seconds = 0;
  std::vector<comm::HierarchyLevel> levels;
  std::int64_t segments = 1;
};

void require(const MachineFile& machine) {
  const auto missing = [](const std::string& what) {
    throw core::UsageError("plan --topology: the machine file does not tell " + what,
                           "isaribi allreduce --help shows a whole one");
  };
  if (machine.ranks_per_node == 0) missing("machine/ranks_per_node");
  if (machine.inside.bytes_per_s == 0 && machine.ranks_per_node > 1) missing("link/inside");
  if (machine.node.bytes_per_s == 0) missing("link/node");
  if (machine.nodes_per_rack > 0 && machine.rack.bytes_per_s == 0) missing("link/rack");
}

/// With the number of segments that suits it best.
Row best_of(const comm::MachineModel& model, const comm::Topology& topology,
            const std::vector<comm::HierarchyLevel>& levels, double bytes) {
  const auto loads = comm::stage_loads(topology, comm::Hierarchy(topology.order, levels));
  Row best{std::numeric_limits<double>::infinity(), levels, 1};
  for (std::int64_t segments = 1; segments <= kMostSegments; segments *= 2) {
    const double seconds = comm::predict_seconds(model, loads, bytes, segments, kWindow);
    if (seconds < best.seconds) best = {seconds, levels, segments};
  }
  return best;
}

}  // namespace

void allreduce_table(const MachineFile& machine, int ranks, std::int64_t bytes, int shown,
                     core::Log& log) {
  require(machine);
  const int per_rack = machine.nodes_per_rack > 0 ? machine.nodes_per_rack : ranks;
  const comm::Topology topology = comm::regular_topology(ranks, machine.ranks_per_node, per_rack);
  const comm::MachineModel model = machine.model(topology);
  const auto size = static_cast<double>(bytes);
  std::vector<Row> rows;
  for (const auto& levels : comm::candidate_levels(topology, true))
    rows.push_back(best_of(model, topology, levels, size));
  std::stable_sort(rows.begin(), rows.end(),
                   [](const Row& a, const Row& b) { return a.seconds < b.seconds; });
  double bound = comm::node_cut_bytes(topology, size) / machine.node.bytes_per_s;
  if (machine.rack.bytes_per_s > 0)
    bound = std::max(bound, comm::rack_cut_bytes(topology, size) / machine.rack.bytes_per_s);
  log.info("allreduce of {} on {}: {} hierarchies", comm::bytes_to_text(bytes),
           topology.description(), rows.size());
  if (bound > 0) log.info("the least that any algorithm can take: {:.3f} ms", 1e3 * bound);
  log.info("\n  {:<48} {:>10} {:>10} {:>9}", "levels, innermost first", "segments", "predicted",
           "of bound");
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (static_cast<int>(i) >= shown && i + 1 < rows.size()) {
      if (static_cast<int>(i) == shown) log.info("  ... (--show N for more)");
      continue;
    }
    log.info("  {:<48} {:>10} {:>7.3f} ms {:>9}", comm::to_text(rows[i].levels), rows[i].segments,
             1e3 * rows[i].seconds,
             bound > 0 ? fmt::format("{:.0f} %", 100 * bound / rows[i].seconds) : "-");
  }
}

}  // namespace isaribi::app
