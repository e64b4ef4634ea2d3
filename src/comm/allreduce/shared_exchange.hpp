// SPDX-License-Identifier: MIT
// A direct exchange through memory that the ranks of a node share: a member writes what others need
// once, and they add it from there. Beside messages inside a node it saves a copy and all matching.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "comm/allreduce/hierarchy.hpp"
#include "comm/allreduce/stage_exchange.hpp"

namespace isaribi::comm {

/// Per rank of the node, shared level and direction: room for `window` segments, laid out like the
/// segment itself, and two counters, how many segments are written and how many are read. A run
/// waits until all members have read what was in its place before, writes, waits until all have
/// written, reads. Counters move on in the order of runs, so nothing else is locked.
class SharedExchange final : public StageExchange {
 public:
  /// Collective over `comm`. Segments take `segment_bytes` or less.
  /// @throws on every rank core::UsageError when a shared level joins ranks of several nodes,
  /// CollectiveError when a node lacks memory.
  SharedExchange(Communicator& comm, const Hierarchy& hierarchy, std::int64_t segment_bytes,
                 int window, Leave leave);
  ~SharedExchange() override;
  void enter(Run& run) override;
  bool progress() override;
  bool busy() const override;

 private:
  struct Counters;
  /// One level in one direction.
  struct Lane {
    std::vector<int> members;               ///< node ranks of this rank's group, without itself
    std::size_t place = 0;                  ///< which of the areas of a rank
    std::int64_t entered = 0, written = 0;  ///< runs
    std::deque<Run*> inside;                ///< entered, not read
  };
  Lane& lane_of(const Run& run) { return lanes_[run.index]; }
  Counters& counters(int node_rank, const Lane& lane) const;
  std::byte* area(int node_rank, const Lane& lane, std::int64_t ticket) const;
  bool all_reached(const Lane& lane, bool written, std::int64_t count) const;
  void write(const Run& run, const Lane& lane, std::int64_t ticket) const;
  bool write_next(Lane& lane);
  Run* read_first(Lane& lane);

  std::vector<int> node_rank_;  ///< by rank; -1 elsewhere
  std::unique_ptr<Communicator> node_;
  std::unique_ptr<SharedWindow> memory_;
  std::vector<Lane> lanes_;  ///< by stage; those of other levels are not used
  std::size_t places_ = 0, area_bytes_ = 0;
  int window_;
};

}  // namespace isaribi::comm
