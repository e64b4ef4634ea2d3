// SPDX-License-Identifier: MIT
// The results as people read them.
#include <fmt/format.h>

#include "backends/selftest/selftest.hpp"

namespace isaribi::selftest {

std::string table_header() {
  return fmt::format("{:<27} {:<5} {:>5} {:>7} {:>13}  {}", "operation", "type", "cases", "failed",
                     "error/bound", "verdict");
}

std::string table_line(const Result& r) {
  if (r.cases == 0) {
    return fmt::format("{:<27} {:<5} {:>5} {:>7} {:>13}  {}", api::name_of(r.op),
                       core::name_of(r.type), "-", "-", "-", "left to the fallback");
  }
  const std::string verdict = r.failures > 0       ? "FAILED  " + r.first_failure_text
                              : r.owned_by_backend ? "ok"
                                                   : "ok (fallback)";
  return fmt::format("{:<27} {:<5} {:>5} {:>7} {:>13.3f}  {}", api::name_of(r.op),
                     core::name_of(r.type), r.cases, r.failures, r.worst_error_over_bound, verdict);
}

std::string table_summary(const std::vector<Result>& results) {
  int cases = 0, run = 0, left = 0;
  for (const Result& r : results) {
    cases += r.cases;
    (r.cases > 0 ? run : left) += 1;
  }
  return fmt::format(
      "{} operation x type pairs, {} cases, {} failures, {} pairs left to the fallback", run, cases,
      failures(results), left);
}

std::string table(const std::vector<Result>& results) {
  std::string text = table_header() + "\n";
  for (const Result& r : results) text += table_line(r) + "\n";
  return text + table_summary(results) + "\n";
}

}  // namespace isaribi::selftest
