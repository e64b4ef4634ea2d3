// SPDX-License-Identifier: MIT
// Reasons to stop early with a good checkpoint: signals (USR1, TERM), the walltime, a STOP file. A
// signal handler only sets a flag; the training loop asks reason() once per step, and the ranks
// agree on the answer by a max-reduction.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

namespace isaribi::app {

using WallClock = std::chrono::system_clock;

/// Seconds of "90", "90s", "90m", "1.5h", "2d", "MM:SS", "HH:MM:SS" or "D-HH:MM:SS" (the spellings
/// of Slurm and PBS).
/// @throws core::UsageError naming `key` (an option or a place in the deck).
double parse_duration(std::string_view text, std::string_view key);
/// ISO 8601 with date and time: "2026-03-31T09:30", seconds optional, then nothing (local time),
/// "Z" or "+09:00".
/// @throws core::UsageError naming `key`.
WallClock::time_point parse_deadline(std::string_view text, std::string_view key);

struct StopOptions {
  std::optional<double> walltime_seconds;  ///< from construction on
  std::optional<WallClock::time_point>
      deadline;  ///< end of a reservation; the earlier of both counts
  /// Kept free before the end, beside twice the longest checkpoint so far; negative: 5 % of the
  /// time left at start, within 1 s and 60 s.
  double margin_seconds = -1;
  /// RUN/STOP, on the one rank that looks (metadata servers dislike thousands that do); empty:
  /// none. It is removed when seen, so that the next start is not stopped by it.
  std::string stop_file;
};

/// Holds the handlers of USR1 and TERM while it lives; one at a time in a process.
class StopRequests {
 public:
  /// @throws core::InternalError when one exists already.
  explicit StopRequests(StopOptions options = {});
  ~StopRequests();
  StopRequests(const StopRequests&) = delete;
  StopRequests& operator=(const StopRequests&) = delete;

  /// Why this rank was asked to stop, empty when it was not. Stays once given. Cheap: call it every
  /// step.
  std::string reason();
  bool stop_requested_locally() { return !reason().empty(); }
  /// Tells how long a checkpoint took, so that the next one still fits before the end.
  void checkpoint_took(double seconds);
  /// Seconds until reason() will say that time is up; nothing when there is no end.
  std::optional<double> seconds_left() const;

 private:
  std::string look();
  bool stop_file_seen();

  StopOptions options_;
  std::optional<WallClock::time_point> end_;
  double margin_ = 0;
  double longest_checkpoint_ = 0;
  double next_file_check_ = 0;
  std::string reason_;
};

}  // namespace isaribi::app
