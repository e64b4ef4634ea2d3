// SPDX-License-Identifier: MIT
// Walks the list of cases, and answers whether the list is complete.
#include <algorithm>
#include <set>
#include <utility>

#include "backends/selftest/judge.hpp"
#include "backends/selftest/selftest.hpp"

namespace isaribi::selftest {
namespace {

std::string pair_text(api::Op op, core::DType type) {
  return std::string(api::name_of(op)) + " " + std::string(core::name_of(type));
}

/// Adds one verdict to the line of its operation.
void record(Result& result, const Case& c, const Verdict& verdict) {
  ++result.cases;
  result.worst_error_over_bound = std::max(result.worst_error_over_bound, verdict.error_over_bound);
  if (verdict.failure.empty()) return;
  ++result.failures;
  if (result.first_failure_text.empty())
    result.first_failure_text = c.text + ": " + verdict.failure;
}

}  // namespace

std::vector<Case> all_cases() {
  CaseList list;
  add_conv_cases(list);
  add_linear_cases(list);
  add_linalg_cases(list);
  add_kronecker_cases(list);
  add_factor_cases(list);
  add_fisher_cases(list);
  add_norm_cases(list);
  add_pool_cases(list);
  add_activation_cases(list);
  add_elementwise_cases(list);
  add_loss_cases(list);
  add_random_cases(list);
  add_update_cases(list);
  add_cast_cases(list);
  add_gradient_cases(list);
  std::vector<Case> cases = list.cases();
  std::stable_sort(cases.begin(), cases.end(), [](const Case& a, const Case& b) {
    return std::pair(a.op, a.type) < std::pair(b.op, b.type);
  });
  return cases;
}

std::vector<Result> run(api::Backend& under_test, api::Backend& oracle, const Filter& filter,
                        const std::function<void(const Result&)>& on_result) {
  std::vector<Result> results;
  const auto finish = [&] {
    if (on_result && !results.empty()) on_result(results.back());
  };
  for (const Case& c : all_cases()) {
    if (api::name_of(c.op).find(filter.op) == std::string_view::npos) continue;
    if (c.text.find(filter.text) == std::string::npos) continue;
    if (results.empty() || results.back().op != c.op || results.back().type != c.type) {
      finish();
      Result next;
      next.op = c.op;
      next.type = c.type;
      next.owned_by_backend = under_test.owns(c.op, c.type);
      results.push_back(next);
    }
    Result& result = results.back();
    if (result.owned_by_backend || filter.with_fallback)
      record(result, c, judge(c, under_test, oracle));
  }
  finish();
  return results;
}

int failures(const std::vector<Result>& results) {
  int sum = 0;
  for (const Result& r : results) sum += r.failures;
  return sum;
}

std::vector<std::string> without_cases() {
  std::set<std::pair<api::Op, core::DType>> there;
  for (const Case& c : all_cases()) there.insert({c.op, c.type});
  std::vector<std::string> missing;
  for (const api::Op op : api::all_ops()) {
    for (const core::DType type : kRealTypes) {
      if (there.count({op, type}) == 0) missing.push_back(pair_text(op, type));
    }
  }
  return missing;
}

std::vector<std::string> not_owned(const api::Backend& backend) {
  std::vector<std::string> missing;
  for (const api::Op op : api::all_ops()) {
    for (const core::DType type : kRealTypes) {
      if (!backend.owns(op, type)) missing.push_back(pair_text(op, type));
    }
  }
  return missing;
}

}  // namespace isaribi::selftest
