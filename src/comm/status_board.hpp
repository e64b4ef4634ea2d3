// SPDX-License-Identifier: MIT
// What every rank of a node is doing, in memory that all of them can read even when one is stopped
// or dead. One writer per slot (its rank); readers are the watchdogs of all ranks.
#pragma once

#include <sys/types.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "comm/communicator.hpp"

namespace isaribi::comm {

/// How the operating system sees a process.
enum class ProcessState { alive, stopped, blocked, dead };

/// `born` from process_birth tells a process from a later one that got the same number. blocked: in
/// uninterruptible sleep, as in a read from a file system that does not answer.
ProcessState process_state(pid_t pid, std::uint64_t born);
/// Start time of a process in clock ticks since boot; 0 when it cannot be seen.
std::uint64_t process_birth(pid_t pid);

/// One rank's line on the board. Atomics of shared memory: lock-free by assertion below.
struct alignas(64) BoardSlot {
  static constexpr std::size_t kTextBytes = 96;
  enum State : std::uint32_t { absent, running, done };

  CallBoard calls;
  std::atomic<std::uint32_t> state{absent};
  std::atomic<std::uint32_t> version{0};  ///< odd while the phase text is being written
  std::atomic<std::uint64_t> beats{0};    ///< signs of life
  std::atomic<std::int64_t> step{-1};     ///< -1: before the first
  std::array<std::atomic<char>, kTextBytes> phase{};
  std::int64_t pid = 0;  ///< this and the rest: written once, before the first fence
  std::uint64_t born = 0;
  std::int32_t world_rank = 0;
  std::array<char, kTextBytes> host{};
};
static_assert(std::atomic<std::uint64_t>::is_always_lock_free);

class StatusBoard {
 public:
  /// Collective over a node communicator.
  StatusBoard(Communicator& node, int world_rank);

  int size() const { return size_; }
  int my_index() const { return index_; }
  BoardSlot& slot(int index) const { return slots_[index]; }
  BoardSlot& mine() const { return slots_[index_]; }

  /// Writer side, by the owner of the slot.
  void set_phase(std::string_view name) const;
  /// A phase may be torn when its writer died in the middle: then the text is best effort.
  std::string phase_of(int index) const;
  /// True for exactly one caller of the node: the one that may speak and end the job.
  bool claim() const;
  /// Collective: all slots are as written before the call.
  void fence() const { window_->fence(); }

 private:
  struct Header {
    alignas(64) std::atomic<std::uint32_t> claimed{0};
  };
  int size_, index_;
  std::unique_ptr<SharedWindow> window_;
  Header* header_ = nullptr;
  BoardSlot* slots_ = nullptr;
};

}  // namespace isaribi::comm
