// SPDX-License-Identifier: MIT
// What a reduction does to elements: adding, and the narrower type in which they may travel.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/dtype.hpp"

namespace isaribi::comm {

/// Works on contiguous elements of one type (f64, f32, i32) that travel as another one.
struct SumKernels {
  void (*add)(void* y, const void* x, std::int64_t n);        ///< y += x, in the type of y
  void (*narrow)(const void* x, void* wire, std::int64_t n);  ///< rounds to nearest even
  void (*widen)(const void* wire, void* x, std::int64_t n);   ///< exact
};

/// `wire` is `type` itself (then narrow and widen copy), or f32, bf16, f16 for floating types.
/// Plain loops, vectorised by the compiler for each instruction set of x86-64.
/// @throws core::UsageError for any other pair.
SumKernels sum_kernels(core::DType type, core::DType wire);

}  // namespace isaribi::comm
