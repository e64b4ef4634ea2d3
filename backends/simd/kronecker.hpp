// SPDX-License-Identifier: MIT
// Products of Kronecker form, f32.
#pragma once

#include <span>

#include "backends/api/kronecker.hpp"
#include "backends/simd/context.hpp"

namespace isaribi::simd {

/// All f32 and not empty.
void run_kronecker(std::span<api::KroneckerProduct> products, Context& context);

}  // namespace isaribi::simd
