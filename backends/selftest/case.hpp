// SPDX-License-Identifier: MIT
// What a case is, and the list of all of them: one function per operation family, in the file of
// the family. To add cases for an operation, add them there.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "backends/selftest/trial.hpp"

namespace isaribi::selftest {

struct Case {
  api::Op op;
  core::DType type;
  std::string text;  ///< what is special: shapes and options
  std::function<void(Trial&)> body;
  /// False for cases that judge themselves (gradients, residuals): the oracle is not run.
  bool compare = true;
};

class CaseList {
 public:
  void add(api::Op op, core::DType type, std::string text, std::function<void(Trial&)> body) {
    cases_.push_back({op, type, std::move(text), std::move(body), true});
  }
  /// A case whose measures alone decide.
  void add_self_judging(api::Op op, core::DType type, std::string text,
                        std::function<void(Trial&)> body) {
    cases_.push_back({op, type, std::move(text), std::move(body), false});
  }
  const std::vector<Case>& cases() const { return cases_; }

 private:
  std::vector<Case> cases_;
};

void add_conv_cases(CaseList& list);
void add_linear_cases(CaseList& list);
void add_linalg_cases(CaseList& list);
void add_kronecker_cases(CaseList& list);
void add_factor_cases(CaseList& list);
void add_fisher_cases(CaseList& list);
void add_norm_cases(CaseList& list);
void add_pool_cases(CaseList& list);
void add_activation_cases(CaseList& list);
void add_elementwise_cases(CaseList& list);
void add_loss_cases(CaseList& list);
void add_random_cases(CaseList& list);
void add_update_cases(CaseList& list);
void add_cast_cases(CaseList& list);
/// Finite differences of every operation with a gradient.
void add_gradient_cases(CaseList& list);

/// Every case, sorted by operation, then type.
std::vector<Case> all_cases();

/// The element types of training arithmetic.
inline constexpr core::DType kRealTypes[] = {core::DType::f32, core::DType::f64};

}  // namespace isaribi::selftest
