// SPDX-License-Identifier: MIT
// The row of a factor that multiplies the constant 1 of a bias: sums of patches.
#pragma once

#include "backends/api/factor.hpp"
#include "backends/simd/context.hpp"
#include "backends/simd/factor_run.hpp"

namespace isaribi::simd {

/// Adds to the last row of each group of `sums` the sum of the patches of all samples, and in its
/// last element how many there are.
void sum_means(const api::PatchCovariance& args, const FactorSums& sums, Context& context);

}  // namespace isaribi::simd
