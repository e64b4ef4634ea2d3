// SPDX-License-Identifier: MIT
// What ranks tell each other about the sums they begin, so that those who disagree are named.
// Internal to ScheduleRunner.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "comm/allreduce/hierarchy.hpp"
#include "comm/allreduce/schedule.hpp"
#include "comm/allreduce/schedule_options.hpp"
#include "comm/communicator.hpp"

namespace isaribi::comm {

/// What a rank says about a sum when it starts it; compared by the next rank.
struct Announcement {
  std::int64_t sequence = 0, count = 0, type = 0;
  Collective collective = Collective::all_reduce;
  std::uint64_t parts = 0;  ///< hash of their lengths
  bool operator==(const Announcement&) const = default;
};
/// "sum 3 of 1000 f32", "reduce_scatter_v 4 of 1000 f32 in parts #12345".
std::string to_text(const Announcement& announcement);

/// Collective, before anything that depends on the plan: `comm` as it is.
/// @throws CollectiveError naming ranks, hosts and plans where those are not the same
std::unique_ptr<Communicator> agreed(std::unique_ptr<Communicator> comm, const RankOrder& order,
                                     const std::vector<HierarchyLevel>& levels,
                                     const ScheduleOptions& options);

}  // namespace isaribi::comm
