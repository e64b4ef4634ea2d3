// SPDX-License-Identifier: MIT
#include "comm/allreduce/shared_exchange.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <new>
#include <span>
#include <string>
#include <utility>

#include "comm/agreement.hpp"
#include "core/error.hpp"

namespace isaribi::comm {
namespace {

constexpr std::size_t kLine = 64;  // bytes: no two ranks write to the same cache line

std::size_t whole_lines(std::size_t bytes) {
  return (bytes + kLine - 1) / kLine * kLine;
}

/// Node rank of every rank of `comm`, -1 for those of other nodes.
std::vector<int> node_ranks(Communicator& comm, Communicator& node) {
  const std::int64_t mine = comm.rank();
  std::vector<std::int64_t> ranks(static_cast<std::size_t>(node.size()));
  node.all_gather(std::as_bytes(std::span(&mine, 1)), std::as_writable_bytes(std::span(ranks)));
  std::vector<int> result(static_cast<std::size_t>(comm.size()), -1);
  for (std::size_t n = 0; n < ranks.size(); ++n) {
    result[static_cast<std::size_t>(ranks[n])] = static_cast<int>(n);
  }
  return result;
}

}  // namespace

struct alignas(kLine) SharedExchange::Counters {
  std::atomic<std::int64_t> written{0}, read{0};
};
static_assert(std::atomic<std::int64_t>::is_always_lock_free);

SharedExchange::SharedExchange(Communicator& comm, const Hierarchy& hierarchy,
                               std::int64_t segment_bytes, int window, Leave leave)
    : StageExchange(std::move(leave)),
      node_(comm.split_node()),
      lanes_(static_cast<std::size_t>(2 * hierarchy.levels())),
      area_bytes_(whole_lines(static_cast<std::size_t>(segment_bytes))),
      window_(window) {
  node_rank_ = node_ranks(comm, *node_);
  const int position = hierarchy.position_of(comm.rank());
  std::int64_t elsewhere = -1;  // level that joins several nodes
  for (int l = 0; l < hierarchy.levels(); ++l) {
    if (hierarchy.level(l).exchange != Exchange::shared) continue;
    const Hierarchy::Group& group =
        hierarchy.groups(l)[static_cast<std::size_t>(hierarchy.group_of(l, position))];
    std::vector<int> members;
    for (int p = group.first_position; p < group.first_position + group.positions; ++p) {
      const int n = node_rank_[static_cast<std::size_t>(hierarchy.rank_at(p))];
      if (n < 0) elsewhere = l;
      if (p != position) members.push_back(n);
    }
    for (const int stage : {l, 2 * hierarchy.levels() - 1 - l}) {
      Lane& lane = lanes_[static_cast<std::size_t>(stage)];
      lane.members = members;
      lane.place = places_++;
    }
  }
  elsewhere = comm.all_reduce(elsewhere, ReduceOp::max);
  if (elsewhere >= 0) {
    throw core::UsageError("hierarchy \"" + hierarchy.text() + "\": level " +
                               to_text({hierarchy.level(static_cast<int>(elsewhere))}) +
                               " joins ranks of several nodes, which share no memory",
                           "shared levels come first and end inside a node");
  }
  const auto ranks = static_cast<std::size_t>(node_->size());
  const auto slots = static_cast<std::size_t>(window_);
  run_together(comm, [&] {  // all ranks of a node fail alike
    memory_ = node_->make_shared_window(ranks * places_ * (sizeof(Counters) + slots * area_bytes_));
  });
  for (const Lane& lane : lanes_) {
    if (lane.members.empty()) continue;
    new (&counters(node_->rank(), lane)) Counters;
    // Touched here, its pages lie near this rank, and what others still have room for is known.
    std::memset(area(node_->rank(), lane, 0), 0, slots * area_bytes_);
  }
  memory_->fence();
}

SharedExchange::~SharedExchange() = default;

// All counters first, then all areas.
SharedExchange::Counters& SharedExchange::counters(int node_rank, const Lane& lane) const {
  const std::size_t at = static_cast<std::size_t>(node_rank) * places_ + lane.place;
  return *std::launder(reinterpret_cast<Counters*>(memory_->data() + at * sizeof(Counters)));
}

std::byte* SharedExchange::area(int node_rank, const Lane& lane, std::int64_t ticket) const {
  const std::size_t ranks = static_cast<std::size_t>(node_->size());
  const std::size_t place = static_cast<std::size_t>(node_rank) * places_ + lane.place;
  const auto slot = static_cast<std::size_t>(ticket % window_);
  return memory_->data() + ranks * places_ * sizeof(Counters) +
         (place * static_cast<std::size_t>(window_) + slot) * area_bytes_;
}

void SharedExchange::enter(Run& run) {
  Lane& lane = lane_of(run);
  run.slots.clear();
  for (const Message& m : run.stage().receives) run.slots.push_back({&m, nullptr});
  run.arrived.assign(run.slots.size(), false);
  ++lane.entered;
  lane.inside.push_back(&run);
}

bool SharedExchange::busy() const {
  return std::any_of(lanes_.begin(), lanes_.end(),
                     [](const Lane& lane) { return !lane.inside.empty(); });
}

bool SharedExchange::progress() {
  std::vector<Run*> done;
  bool moved = false;
  for (Lane& lane : lanes_) {
    while (write_next(lane)) moved = true;
    while (Run* run = read_first(lane)) done.push_back(run);
  }
  for (Run* run : done) leave(*run);
  return moved || !done.empty();
}

bool SharedExchange::all_reached(const Lane& lane, bool written, std::int64_t count) const {
  return std::all_of(lane.members.begin(), lane.members.end(), [&](int member) {
    const Counters& c = counters(member, lane);
    return (written ? c.written : c.read).load(std::memory_order_acquire) >= count;
  });
}

bool SharedExchange::write_next(Lane& lane) {
  if (lane.written == lane.entered) return false;
  const std::int64_t ticket = lane.written;
  if (!all_reached(lane, false, ticket + 1 - window_)) return false;
  const auto unread = static_cast<std::size_t>(lane.entered - ticket);  // from here to the end
  write(*lane.inside[lane.inside.size() - unread], lane, ticket);
  ++lane.written;
  if (!lane.members.empty()) {
    counters(node_->rank(), lane).written.store(lane.written, std::memory_order_release);
  }
  return true;
}

// Once, whoever reads it: on the way up all members read the same.
void SharedExchange::write(const Run& run, const Lane& lane, std::int64_t ticket) const {
  std::vector<std::pair<std::int64_t, std::int64_t>> pieces;
  for (const Message& m : run.stage().sends) pieces.emplace_back(m.begin, m.end);
  std::sort(pieces.begin(), pieces.end());
  pieces.erase(std::unique(pieces.begin(), pieces.end()), pieces.end());
  const StageSums& sums = run.sums();
  std::byte* to = area(node_->rank(), lane, ticket);
  for (const auto& [begin, end] : pieces) {
    const Message piece{0, begin, end, 0, 0};
    sums.put_out({&piece, to + sums.wire_bytes(begin)}, run.data, run.residual_to_round());
  }
}

// Everything the members wrote for this run, or nothing yet.
Run* SharedExchange::read_first(Lane& lane) {
  if (lane.inside.empty()) return nullptr;
  const std::int64_t ticket = lane.entered - static_cast<std::int64_t>(lane.inside.size());
  if (ticket >= lane.written || !all_reached(lane, true, ticket + 1)) return nullptr;
  Run& run = *lane.inside.front();
  for (Slot& slot : run.slots) {
    const int peer = node_rank_[static_cast<std::size_t>(slot.message->peer)];
    slot.data = area(peer, lane, ticket) + run.sums().wire_bytes(slot.message->begin);
  }
  run.arrived.assign(run.slots.size(), true);
  run.sums().take_in(run.stage(), run.slots, run.data);
  lane.inside.pop_front();
  if (!lane.members.empty()) {
    counters(node_->rank(), lane).read.store(ticket + 1, std::memory_order_release);
  }
  return &run;
}

}  // namespace isaribi::comm
