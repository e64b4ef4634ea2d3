// SPDX-License-Identifier: MIT
// How the members of a group do one stage of a schedule: by messages, through memory that they
// share, or by the MPI library.
#pragma once

#include <functional>

#include "comm/allreduce/schedule_run.hpp"

namespace isaribi::comm {

class StageExchange {
 public:
  /// Called once for a run whose stage is done; the run may then enter another exchange at once.
  using Leave = std::function<void(Run&)>;

  explicit StageExchange(Leave leave) : leave_(std::move(leave)) {}
  virtual ~StageExchange() = default;
  StageExchange(const StageExchange&) = delete;
  StageExchange& operator=(const StageExchange&) = delete;

  /// Begins run.stage(). Runs enter a stage in the same order on every rank.
  virtual void enter(Run& run) = 0;
  /// Moves on what no message moves; true when something moved. @throws core::CommError
  virtual bool progress() { return false; }
  /// Whether progress() has something to wait for.
  virtual bool busy() const { return false; }

 protected:
  void leave(Run& run) { leave_(run); }

 private:
  Leave leave_;
};

}  // namespace isaribi::comm
