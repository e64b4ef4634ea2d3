// SPDX-License-Identifier: MIT
// The two files of a run folder that other programs read while a job runs or after it ended:
// metrics.jsonl (one JSON object per line, growing) and status.json (one small object, replaced
// whole). Rank 0 only.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace isaribi::report {

/// Appends records to metrics.jsonl. Every record has an integer "step"; steps never decrease.
class MetricsLog {
 public:
  /// Opens or creates `path`, and cuts away every record behind `restored_step` (0: all of them)
  /// and whatever a kill left of a last line, so that a restarted run continues the file of an
  /// uninterrupted one. @throws DataError.
  MetricsLog(std::string path, std::int64_t restored_step);
  ~MetricsLog();
  MetricsLog(const MetricsLog&) = delete;
  MetricsLog& operator=(const MetricsLog&) = delete;

  /// One line, handed to the file system before this returns. @throws DataError (disk full): the
  /// file then ends with the line before.
  void write(const nlohmann::ordered_json& record);

 private:
  std::string path_;
  int file_ = -1;
  std::int64_t end_ = 0;  ///< bytes of complete lines
};

/// All complete records of a metrics.jsonl, in order; empty when the file does not exist.
/// @throws DataError naming the line that is no JSON object.
std::vector<nlohmann::json> read_metrics(const std::string& path);

/// How a run stands, for job scripts and for people.
struct Status {
  std::string state = "running";  ///< running, finished, stopped (submit again), failed
  int exit = 0;                   ///< exit code of the program; see README, "Exit codes"
  std::int64_t step = 0;
  double epoch = 0;
  double test_accuracy = -1;  ///< negative: none; written as null
  double test_loss = -1;      ///< negative or not finite: none; written as null
  double samples_per_s = 0;
  double wall_s = 0;       ///< of this attempt
  int attempts = 1;        ///< how often this run folder was started
  std::string error = "";  ///< why it failed, empty otherwise
};

/// Replaces run_dir/status.json in one step. @throws DataError.
void write_status(const std::string& run_dir, const Status& status);
/// Empty when there is none. @throws DataError when it is damaged.
std::optional<Status> read_status(const std::string& run_dir);

}  // namespace isaribi::report
