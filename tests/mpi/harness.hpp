// SPDX-License-Identifier: MIT
// Tests over several ranks. Not Catch2: there a failed check on one rank leaves the others waiting
// in a collective call; here it says rank, file and line, and ends the job.
#pragma once

#include <functional>
#include <source_location>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "comm/communicator.hpp"
#include "comm/runtime.hpp"

namespace isaribi::mpi_test {

struct Failed : std::runtime_error {
  using std::runtime_error::runtime_error;
};

inline void expect(bool good, const std::string& what = "condition",
                   std::source_location at = std::source_location::current()) {
  if (good) return;
  std::ostringstream text;
  text << at.file_name() << ":" << at.line() << ": " << what << " does not hold";
  throw Failed(text.str());
}

template <typename A, typename B>
void expect_equal(const A& got, const B& expected, const std::string& what = "value",
                  std::source_location at = std::source_location::current()) {
  if (got == expected) return;
  std::ostringstream text;
  text << at.file_name() << ":" << at.line() << ": " << what << ": got " << got << ", expected "
       << expected;
  throw Failed(text.str());
}

/// The text of `needle` is in `text`.
inline void expect_in(const std::string& needle, const std::string& text,
                      std::source_location at = std::source_location::current()) {
  expect(text.find(needle) != std::string::npos, "\"" + needle + "\" in \"" + text + "\"", at);
}

struct Case {
  std::string name;
  std::function<void(comm::Communicator& world)> body;
};

/// Runs the cases in order on all ranks; "--piece-bytes N" and "--one-thread" set RuntimeOptions.
/// Returns the exit code.
int run_cases(int argc, char** argv, const std::vector<Case>& cases,
              comm::RuntimeOptions options = {});

}  // namespace isaribi::mpi_test
