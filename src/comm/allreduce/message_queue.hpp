// SPDX-License-Identifier: MIT
// Messages between pairs of ranks under way, and what to do when each is complete.
#pragma once

#include <mpi.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "comm/communicator.hpp"

namespace isaribi::comm {

class MessageQueue {
 public:
  /// `comm` must outlive it and carry no other messages; a serial one carries none at all.
  explicit MessageQueue(Communicator& comm);
  MessageQueue(const MessageQueue&) = delete;
  MessageQueue& operator=(const MessageQueue&) = delete;

  /// Memory must stay until `done` is called; fewer than 2^31 bytes. Between two ranks messages of
  /// one tag arrive in the order of their posting.
  void send(const void* data, std::int64_t bytes, int to, int tag, std::function<void()> done);
  void receive(void* data, std::int64_t bytes, int from, int tag, std::function<void()> done);
  /// Calls done() of what is complete; `block` waits for at least one if any is under way. True
  /// when something was. @throws core::CommError, after calling done() of what was complete.
  bool progress(bool block);
  bool empty() const { return requests_.empty(); }
  /// The other rank of the oldest message under way; only when not empty().
  int oldest_peer() const { return peers_.front(); }
  int largest_tag() const { return largest_tag_; }

 private:
  MPI_Comm comm_ = MPI_COMM_NULL;
  int largest_tag_ = 0;
  std::vector<MPI_Request> requests_;
  std::vector<std::function<void()>> done_;  ///< beside requests_
  std::vector<int> peers_;                   ///< likewise
  std::vector<int> indices_;
  std::vector<MPI_Status> statuses_;
};

}  // namespace isaribi::comm
