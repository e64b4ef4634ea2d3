// SPDX-License-Identifier: MIT
// Compares what the backend under test made of a case with what the oracle made of it.
#pragma once

#include <string>

#include "backends/selftest/case.hpp"

namespace isaribi::selftest {

/// The judgement of one case.
struct Verdict {
  double error_over_bound = 0;  ///< the largest of all outputs; infinite for a wrong NaN
  std::string failure;          ///< empty when the case passes
};

Verdict judge(const Case& c, api::Backend& under_test, api::Backend& oracle);

}  // namespace isaribi::selftest
