// SPDX-License-Identifier: MIT
// The kernels with which sums over ranks are made where there are ranks to sum with.
#pragma once

#include "backends/simd/kernels.hpp"
#include "core/sum_kernels.hpp"

namespace isaribi::simd {

/// Those of one level: f64, f32, i32 as they are, f64 and f32 as f32, bf16 or f16; else none.
core::SumKernels sum_kernels(const Kernels& kernels, core::DType type, core::DType wire);

/// Those of the widest level of this CPU, or of ISARIBI_ISA: all levels give the same bits.
core::SumKernels sum_kernels(core::DType type, core::DType wire);

}  // namespace isaribi::simd
