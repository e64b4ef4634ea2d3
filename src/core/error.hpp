// SPDX-License-Identifier: MIT
// Typed exceptions. Each kind maps to one documented exit code; the message states the cause and
// the place, then a hint what to do. One handler (app/run.cpp) turns them into one message per job.
#pragma once

#include <stdexcept>
#include <string>

namespace isaribi::core {

/// Process exit codes, part of the user interface (README, "Exit codes").
enum class ExitCode : int {
  ok = 0,
  internal = 1,   ///< a defect of ours
  usage = 2,      ///< command line or deck
  data = 3,       ///< data set, checkpoint or file system
  numerical = 4,  ///< NaN, divergence
  comm = 5,       ///< communication failure or hang
  resubmit = 75,  ///< stopped early with a good checkpoint: submit again
};

/// Base of all our exceptions: cause (with its place) and hint kept apart so that tests can look at
/// both.
class Error : public std::runtime_error {
 public:
  Error(ExitCode code, std::string cause, std::string hint);
  ExitCode code() const { return code_; }
  const std::string& cause() const { return cause_; }
  const std::string& hint() const { return hint_; }

 private:
  ExitCode code_;
  std::string cause_, hint_;
};

/// Wrong command line or deck: exit 2.
class UsageError : public Error {
 public:
  explicit UsageError(std::string cause, std::string hint = "");
};

/// Shapes that do not fit: a usage error that carries both sides.
class ShapeError : public UsageError {
 public:
  ShapeError(std::string where, std::string expected, std::string got, std::string hint = "");
  const std::string& expected() const { return expected_; }
  const std::string& got() const { return got_; }

 private:
  std::string expected_, got_;
};

/// A file that is missing, damaged, not ours, or cannot be written: exit 3.
class DataError : public Error {
 public:
  DataError(std::string file, std::string cause, std::string hint = "");
  const std::string& file() const { return file_; }

 private:
  std::string file_;
};

/// NaN or divergence: exit 4.
class NumericalError : public Error {
 public:
  explicit NumericalError(std::string cause, std::string hint = "");
};

/// Ranks that disagree, die or hang: exit 5.
class CommError : public Error {
 public:
  explicit CommError(std::string cause, std::string hint = "");
};

/// An internal contract was broken: a defect of ours, exit 1.
class InternalError : public Error {
 public:
  explicit InternalError(std::string cause);
};

}  // namespace isaribi::core
