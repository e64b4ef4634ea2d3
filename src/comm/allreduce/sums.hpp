// SPDX-License-Identifier: MIT
// The kernels of a sum over ranks: those of a backend, or loops that run anywhere.
#pragma once

#include "core/dtype.hpp"
#include "core/sum_kernels.hpp"

namespace isaribi::comm {

/// Of `fast` where it has some, else plain loops. `wire` is `type` itself (then narrow and widen
/// copy), or f32, bf16, f16 for floating types.
/// @throws core::UsageError for any other pair.
core::SumKernels sum_kernels(core::DType type, core::DType wire, core::SumKernelsOf fast = nullptr);

}  // namespace isaribi::comm
