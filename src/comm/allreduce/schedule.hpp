// SPDX-License-Identifier: MIT
// What one rank sends and receives when a buffer goes down a hierarchy (reduce-scatter) and up
// again (allgather), or one of the two ways. Pure: computed by every rank for itself, without
// messages; run by ScheduleRunner, priced by the cost model.
#pragma once

#include <cstdint>
#include <string_view>
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

/// Which of the two ways a buffer goes.
enum class Collective : std::uint8_t {
  all_reduce,      ///< down and up
  reduce_scatter,  ///< down: every rank ends with the sum of its part
  all_gather,      ///< up: every rank begins with its part
};
/// "all_reduce", ..
std::string_view name_of(Collective collective);

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

/// What is to be scheduled: `count` elements, cut evenly, or the parts of given ranks one after the
/// other, of which each ends up at its rank.
struct Buffer {
  explicit Buffer(std::int64_t elements) : count(elements) {}
  /// @param order positions; @param lengths elements of their parts, beside it
  Buffer(const std::vector<int>& order, const std::vector<std::int64_t>& lengths);
  std::int64_t count = 0;
  std::vector<Share> parts;  ///< those that are not empty; none: cut evenly
};

/// Schedules of one rank for buffers of any length.
class Scheduler {
 public:
  Scheduler(const Hierarchy& hierarchy, int rank);
  /// `count` >= 0 elements, cut evenly.
  Schedule schedule(std::int64_t count) const;
  /// One way or both, the stages of the other one being empty. @param lengths of the parts of all
  /// ranks, which lie in the order of Hierarchy::part_order()
  Schedule schedule(const std::vector<std::int64_t>& lengths, Collective collective) const;
  /// What `group` of level l holds where, after its down stage. Level -1: `group` is a position.
  /// A piece that k members hold in k places is cut among the k holders; pieces are the common
  /// refinement of what the members hold, so that uneven groups need no special case. A piece of
  /// the part of some rank goes to the member which that rank belongs to, in other groups to the
  /// one of the same number; where those have another size, to those at the same place in it.
  std::vector<Share> shares(int l, int group, const Buffer& buffer) const;

 private:
  Schedule schedule(const Buffer& buffer) const;
  void add_stages(int l, const Buffer& buffer, Stage& down, Stage& up) const;

  const Hierarchy& hierarchy_;
  int rank_, position_;
  std::vector<int> order_;
};

}  // namespace isaribi::comm
