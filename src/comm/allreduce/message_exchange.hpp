// SPDX-License-Identifier: MIT
// Rings and direct exchanges by messages between pairs of ranks.
#pragma once

#include <utility>

#include "comm/allreduce/memory_pool.hpp"
#include "comm/allreduce/message_queue.hpp"
#include "comm/allreduce/stage_exchange.hpp"

namespace isaribi::comm {

class MessageExchange final : public StageExchange {
 public:
  /// @param stages of a schedule: tags tell messages of different stages apart. `queue` must
  /// outlive it.
  MessageExchange(MessageQueue& queue, core::MemoryResource& memory, int stages, Leave leave)
      : StageExchange(std::move(leave)), queue_(queue), memory_(memory), stages_(stages) {}
  void enter(Run& run) override;

  /// Tag of announcements, which no stage uses.
  static constexpr int kAnnouncementTag = 0;

 private:
  void post_receives(Run& run);
  void post_sends(Run& run);
  void advance(Run& run);
  int tag_of(const Run& run) const;

  MessageQueue& queue_;
  MemoryPool memory_;
  int stages_;
};

}  // namespace isaribi::comm
