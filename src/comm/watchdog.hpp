// SPDX-License-Identifier: MIT
// Ends a job whose ranks died or hang, with one message that says which rank, where, and in which
// phase, instead of a silent wait to the walltime. Each rank publishes its phase on a board shared
// by the ranks of its node (status_board.hpp); a thread per rank reads it.
//   dead: each rank looks every poll at the next rank on its node, so every death has a witness who
//   survives. hang: a rank that shows no sign of life for hang_seconds while it is not waiting for
//   others, or that is stopped.
// Whoever notices first claims the board, speaks, and aborts. Limits: a dead rank is seen from its
// own node only (from elsewhere it looks like a hang, or the launcher ends the job), and a process
// that is never scheduled cannot report.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "comm/communicator.hpp"
#include "core/timer.hpp"

namespace isaribi::comm {

struct WatchdogOptions {
  double hang_seconds =
      300;  ///< no sign of life for this long is a hang; 0: only deaths are noticed
  double poll_seconds =
      0.02;  ///< a launcher kills the survivors about 1 s after a death: be faster
  /// Where the message goes; default: one write to standard error.
  std::function<void(const std::string& message)> report;
};

/// Signs of life are the starts and ends of phases (of `timers`), set_step and beat. A death ends
/// the job within about 3 s, a hang within hang_seconds + 3 s (1.25 hang_seconds + 4 s where only
/// other nodes can know the culprit), with exit code 5 unless the launcher was faster. SIGTERM must
/// not kill at once (app::StopRequests sees to it), because launchers send it to the survivors of a
/// death.
class Watchdog {
 public:
  /// Collective over `world`; both must outlive it.
  Watchdog(Communicator& world, core::PhaseTimers& timers, WatchdogOptions options = {});
  /// Collective, except while an exception unwinds the stack. From here on this rank may end
  /// without alarm.
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

  /// The step that messages name; a sign of life.
  void set_step(std::int64_t step);
  /// A sign of life inside a long phase; cheap enough for every row of a file.
  void beat();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace isaribi::comm
