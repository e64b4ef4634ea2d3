// SPDX-License-Identifier: MIT
// What the MPI collectives share: element types, cutting into pieces, the note that this rank
// waits, and a nonblocking operation under way.
#pragma once

#include <mpi.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "comm/mpi_communicator.hpp"

namespace isaribi::comm {

/// @throws core::InternalError for f16 and bf16, which MPI does not know.
MPI_Datatype mpi_type(core::DType type);

/// Keeps MPI to one thread at a time while it lives.
class OneCaller {
 public:
  explicit OneCaller(MpiShared& shared) : lock_(shared.calls) {}

 private:
  std::lock_guard<std::recursive_mutex> lock_;
};

/// Tells the board, while it lives, that this rank is blocked in a collective call.
class Waiting {
 public:
  explicit Waiting(MpiShared& shared)
      : caller_(shared), board_(shared.board.load(std::memory_order_acquire)) {
    if (board_ != nullptr) board_->waiting.store(1, std::memory_order_relaxed);
  }
  ~Waiting() {
    if (board_ != nullptr) board_->waiting.store(0, std::memory_order_relaxed);
  }
  Waiting(const Waiting&) = delete;
  Waiting& operator=(const Waiting&) = delete;

 private:
  OneCaller caller_;
  CallBoard* board_;
};

/// Calls piece(first element, elements) until `count` elements of `element_bytes` are covered; a
/// count of 0 makes no call, on any rank.
template <typename Piece>
void in_pieces(std::size_t count, std::size_t element_bytes, std::size_t piece_bytes, Piece piece) {
  const std::size_t limit = std::max<std::size_t>(piece_bytes / element_bytes, 1);
  for (std::size_t first = 0; first < count; first += limit) {
    piece(first, static_cast<int>(std::min(limit, count - first)));
  }
}

/// One nonblocking operation, however many pieces it has.
class MpiPending final : public Request::Pending {
 public:
  /// `memory` is kept until the end.
  MpiPending(std::vector<MPI_Request> requests, std::vector<core::Tensor> memory,
             std::shared_ptr<MpiShared> shared)
      : requests_(std::move(requests)), memory_(std::move(memory)), shared_(std::move(shared)) {}
  bool test() override {
    const OneCaller caller(*shared_);
    int done = 0;
    check_mpi(MPI_Testall(count(), requests_.data(), &done, MPI_STATUSES_IGNORE), "MPI_Testall");
    if (done != 0 && finish) finish();
    return done != 0;
  }
  void wait() override {
    const Waiting waiting(*shared_);
    check_mpi(MPI_Waitall(count(), requests_.data(), MPI_STATUSES_IGNORE), "MPI_Waitall");
    if (finish) finish();
  }

  std::vector<int> arguments;    ///< counts and displacements that MPI reads until the end
  std::function<void()> finish;  ///< local work once it is complete, or none

 private:
  int count() const { return static_cast<int>(requests_.size()); }
  std::vector<MPI_Request> requests_;
  std::vector<core::Tensor> memory_;
  std::shared_ptr<MpiShared> shared_;
};

}  // namespace isaribi::comm
