// SPDX-License-Identifier: MIT
// Runs a FactorPlan.
#pragma once

#include "backends/simd/context.hpp"
#include "backends/simd/factor_plan.hpp"

namespace isaribi::simd {

/// sums[lane][group] += the factor's upper triangle (and its last row when there is a bias), lanes
/// added in order; sums: [lanes, groups, length, length].
struct FactorSums {
  const double* data = nullptr;
  std::int64_t lanes = 1;
};

/// The unscaled sums of x over all samples, in scratch memory of the context.
FactorSums run_factor(const FactorPlan& plan, const float* x, Context& context);

}  // namespace isaribi::simd
