// SPDX-License-Identifier: MIT
// One way to sum a buffer, as a value and as text, and the list of all ways.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "comm/allreduce/topology.hpp"
#include "core/dtype.hpp"

namespace isaribi::comm {

/// One way to sum a buffer: along levels in segments, or, without levels, the library's allreduce.
struct PlanChoice {
  std::vector<HierarchyLevel> levels;
  std::int64_t segment_bytes = 0;

  bool library() const { return levels.empty(); }
  /// "direct2-ring4/1M", "direct2-ring4" in one segment, or "mpi".
  std::string text() const;
  bool operator==(const PlanChoice&) const = default;
};
/// Inverse of text(). @throws core::UsageError
PlanChoice parse_plan(std::string_view text);
/// "64K", "16M", "1000": bytes, K = 1024. @throws core::UsageError in parse_bytes
std::string bytes_to_text(std::int64_t bytes);
std::int64_t parse_bytes(std::string_view text);

/// @throws core::UsageError when the plan does not fit: its levels do not come together, a shared
/// level joins nodes, one of NCCL has ranks without a GPU of their own, or the library would have
/// to send a narrow type.
void check_plan(const Topology& topology, const PlanChoice& plan, std::optional<core::DType> wire);
/// The first level that sends a narrow type: the first whose groups span nodes; on one node, 0.
int first_wire_level(const Topology& topology, const Hierarchy& hierarchy);

/// Every sensible hierarchy of a topology: for each kind of domain, and for neighbouring kinds
/// taken as one, all ordered factorisations of its members (where those have no small factors, also
/// of a few more), each level as ring and as direct exchange (two members: direct, the same thing),
/// inside a node also through shared memory, where ranks have GPUs also by NCCL; the outermost one
/// also by the library, unless only messages are asked for. Where those are more than 10,000: one
/// exchange within nodes and one between them, and of these the 10,000 of the fewest levels.
std::vector<std::vector<HierarchyLevel>> candidate_levels(const Topology& topology,
                                                          bool messages_only = false);

}  // namespace isaribi::comm
