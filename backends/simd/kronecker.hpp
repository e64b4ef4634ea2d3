// SPDX-License-Identifier: MIT
// Products of Kronecker form, f32.
#pragma once

#include <memory>
#include <vector>

#include "backends/api/kronecker.hpp"
#include "backends/simd/context.hpp"

namespace isaribi::simd {

/// All f32 and not empty. The context outlives the plan.
std::unique_ptr<api::KroneckerPlan> plan_kronecker(std::vector<api::KroneckerProduct> products,
                                                   Context& context);

}  // namespace isaribi::simd
