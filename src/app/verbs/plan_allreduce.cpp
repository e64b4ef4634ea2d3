// SPDX-License-Identifier: MIT
#include "app/verbs/plan_allreduce.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "comm/allreduce/containment.hpp"
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
  if (machine.ranks_per_socket > 0) {
    if (machine.socket.bytes_per_s == 0) missing("link/socket");
    if (machine.ranks_per_node % machine.ranks_per_socket != 0)
      throw core::UsageError("plan --topology: ranks_per_node is no multiple of ranks_per_socket",
                             "sockets of one node hold as many ranks each");
  }
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

/// Every hierarchy of a number of ranks, fastest first.
std::vector<Row> predict_all(const MachineFile& machine, const comm::Topology& topology,
                             double bytes) {
  const comm::MachineModel model = machine.model(topology);
  std::vector<Row> rows;
  for (const auto& levels : comm::candidate_levels(topology, true))
    rows.push_back(best_of(model, topology, levels, bytes));
  std::stable_sort(rows.begin(), rows.end(),
                   [](const Row& a, const Row& b) { return a.seconds < b.seconds; });
  return rows;
}

comm::Topology machine_of(const MachineFile& machine, int ranks) {
  return comm::regular_topology(ranks, machine.ranks_per_node,
                                machine.nodes_per_rack > 0 ? machine.nodes_per_rack : ranks,
                                machine.ranks_per_socket);
}

}  // namespace

void containment_table(const MachineFile& machine, int ranks, std::int64_t bytes, core::Log& log) {
  require(machine);
  const auto size = static_cast<double>(bytes);
  log.info("\ncontainment of {}: each fastest hierarchy, cut down to half the ranks",
           comm::bytes_to_text(bytes));
  log.info("  {:>6} {:<40} {:>6} {:<40} {:>8}  within {:.0f} %", "ranks", "fastest", "half",
           "cut down", "behind", 100 * comm::kAsFast);
  std::vector<Row> rows = predict_all(machine, machine_of(machine, ranks), size);
  int holds = 0, steps = 0;
  for (int half = ranks / 2; half >= std::max(3, machine.ranks_per_node); half /= 2) {
    const comm::Topology part = machine_of(machine, half);
    const auto cut = comm::cut_down(rows.front().levels, part);
    const double seconds = best_of(machine.model(part), part, cut, size).seconds;
    std::vector<Row> there = predict_all(machine, part, size);
    const double behind = seconds / there.front().seconds - 1;
    ++steps;
    holds += behind <= comm::kAsFast ? 1 : 0;
    log.info("  {:>6} {:<40} {:>6} {:<40} {:>6.1f} %  {}", half * 2,
             comm::to_text(rows.front().levels), half, comm::to_text(cut), 100 * behind,
             behind <= comm::kAsFast ? "holds" : "fails: " + comm::to_text(there.front().levels));
    rows = std::move(there);
  }
  log.info("  holds in {} of {} steps", holds, steps);
}

void allreduce_table(const MachineFile& machine, int ranks, std::int64_t bytes, int shown,
                     core::Log& log) {
  require(machine);
  const comm::Topology topology = machine_of(machine, ranks);
  const auto size = static_cast<double>(bytes);
  const std::vector<Row> rows = predict_all(machine, topology, size);
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
