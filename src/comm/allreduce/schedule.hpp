// SPDX-License-Identifier: MIT
// What one rank sends and receives when a buffer goes down a hierarchy (reduce-scatter) and up
// again (allgather). Pure: computed by every rank for itself, without messages; run by
// ScheduleRunner, priced by the cost model.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "comm/allreduce/hierarchy.hpp"

namespace isaribi::comm {

/// Elements [begin, end) go to, or come from, `peer`.
struct Message {
  int round = 0;
  std::int64_t begin = 0, end = 0;
  int member = 0;  ///< of the peer in its group
  int peer = 0;    ///< rank
};

/// The part of one rank in one exchange. Messages are in the order (round, peer, begin), the same
/// on both sides of a pair. Those sent in a round need what the rounds before received; received
/// elements are added on the way down and copied on the way up.
struct Stage {
  int level = 0;
  bool gather = false;  ///< on the way up
  Exchange exchange = Exchange::ring;
  int members = 1, me = 0;  ///< of this rank's group, and which of them it speaks for
  int rounds = 0;
  std::vector<Message> sends, receives;
};

/// Down the levels and up again.
struct Schedule {
  std::vector<Stage> stages;  ///< 2 L, some of them empty
  /// What this rank holds the whole sum of, in between: pairs of begin and end.
  std::vector<std::pair<std::int64_t, std::int64_t>> held;
};

/// Who holds what part of a buffer after the down stages: sorted, without gaps.
struct Share {
  std::int64_t begin = 0;
  int position = 0;  ///< of the holder in the rank order
  int member = 0;    ///< of the group, that the holder belongs to
};

/// Schedules of one rank for buffers of any length.
class Scheduler {
 public:
  Scheduler(const Hierarchy& hierarchy, int rank);
  /// `count` >= 0 elements.
  Schedule schedule(std::int64_t count) const;
  /// What `group` of level l holds where, after its down stage. Level -1: `group` is a position.
  /// A piece that k members hold in k places is cut among the k holders; pieces are the common
  /// refinement of what the members hold, so that uneven groups need no special case.
  std::vector<Share> shares(int l, int group, std::int64_t count) const;

 private:
  void add_stages(int l, std::int64_t count, Stage& down, Stage& up) const;

  const Hierarchy& hierarchy_;
  int rank_, position_;
};

}  // namespace isaribi::comm
