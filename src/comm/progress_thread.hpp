// SPDX-License-Identifier: MIT
// Sums that move on while the main thread computes. MPI moves messages only inside its calls (and
// the next round of a sum is posted only when somebody has seen the one before arrive), so without
// a caller a sum stands still between two layers. Here a thread is that caller: it sleeps until a
// sum begins, looks at it now and then, and sleeps again when all are complete.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "comm/communicator.hpp"
#include "comm/reduction_plan.hpp"

namespace isaribi::comm {

/// Requests have one owner at a time, whoever holds Communicator::calls(): the thread for the
/// length of one look, the main thread while it starts or waits. Only the oldest request is tested:
/// sums along one hierarchy all move with it. Between looks that find nothing moved the thread
/// sleeps longer and longer, 20 us to 1 ms; where Linux lets it (6.12), it asks to be run as soon
/// as it wakes on a core that computes. While requests are under way the main thread may
/// communicate through Communicators of the same runtime only (not through HDF5). What a request
/// throws in the thread is thrown by test() and wait() of all.
class ProgressThread {
 public:
  /// `comm` must outlive it. @throws core::CommError where comm.calls() is null, or the system
  /// gives no thread.
  explicit ProgressThread(Communicator& comm);
  /// Leaves what is under way to its requests.
  ~ProgressThread();
  ProgressThread(const ProgressThread&) = delete;
  ProgressThread& operator=(const ProgressThread&) = delete;

  /// The request that `start` returns, in the hands of the thread. Its wait() takes it back: a main
  /// thread that does nothing else moves it best. It may outlive the ProgressThread.
  Request keep_moving(const std::function<Request()>& start);

  /// Processor time of the thread, and how often it has looked, since construction.
  double cpu_seconds() const;
  std::int64_t looks() const;

 private:
  struct Impl;
  class Pending;
  std::shared_ptr<Impl> impl_;
};

/// `plan` with its requests in the hands of `thread`.
std::unique_ptr<AllReducePlan> keep_moving(std::unique_ptr<AllReducePlan> plan,
                                           std::shared_ptr<ProgressThread> thread);

}  // namespace isaribi::comm
