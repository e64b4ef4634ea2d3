// SPDX-License-Identifier: MIT
// The conformance suite: every operation x shape x element type of a backend against the oracle
// (backends/reference), and finite-difference gradients. `isaribi selftest` runs it on the user's
// own machine, ctest runs the same cases. llama.cpp's test-backend-ops is the model for the idea.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "backends/api/backend.hpp"

namespace isaribi::selftest {

/// All cases of one operation on one element type.
struct Result {
  api::Op op{};
  core::DType type{};
  int cases = 0;     ///< that were run
  int failures = 0;  ///< of them
  /// Largest error of all cases as a multiple of its bound (see Bound in trial.hpp): passes are
  /// <= 1.
  double worst_error_over_bound = 0;
  /// False when the backend leaves (op, type) to its fallback.
  bool owned_by_backend = true;
  std::string first_failure_text;  ///< the case and what was wrong; empty without failures
};

struct Filter {
  std::string op;              ///< only operations whose name contains this
  std::string text;            ///< only cases whose description contains this
  bool with_fallback = false;  ///< also run what the backend leaves to its fallback
};

/// Runs the suite. `on_result` is called after each (op, type), in the order of all_ops().
/// Exceptions of a backend are failures of the case, they do not leave this function.
std::vector<Result> run(api::Backend& under_test, api::Backend& oracle, const Filter& filter = {},
                        const std::function<void(const Result&)>& on_result = {});

/// Sum of failures.
int failures(const std::vector<Result>& results);

/// The table, piece by piece so that it can grow on the screen: one line each, no newline.
std::string table_header();
std::string table_line(const Result& result);
/// "42 operations, 1234 cases, 0 failures": after the table.
std::string table_summary(const std::vector<Result>& results);
/// All of it.
std::string table(const std::vector<Result>& results);

/// (op, type) pairs of all_ops() x {f32, f64} without a single case: must be empty.
std::vector<std::string> without_cases();
/// (op, type) pairs of all_ops() x {f32, f64} that `backend` does not own.
std::vector<std::string> not_owned(const api::Backend& backend);

}  // namespace isaribi::selftest
