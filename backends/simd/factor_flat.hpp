// SPDX-License-Identifier: MIT
// The second moment of pixels of few channels, which would leave most lanes of an outer product
// empty: output gradients of the first layers.
#pragma once

#include "backends/api/factor.hpp"
#include "backends/simd/context.hpp"
#include "backends/simd/factor_run.hpp"

namespace isaribi::simd {

/// Whether run_flat applies.
bool is_flat(const api::PatchCovariance& args, const Kernels& kernels);

/// The unscaled sums of x over all samples, in scratch memory of the context.
FactorSums run_flat(const api::PatchCovariance& args, Context& context);

}  // namespace isaribi::simd
