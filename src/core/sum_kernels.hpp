// SPDX-License-Identifier: MIT
// What a sum over ranks does to elements: adding, and the narrower type in which they may travel. A
// backend offers its kernels in this form, comm runs them.
#pragma once

#include <cstdint>

#include "core/dtype.hpp"

namespace isaribi::core {

/// Works on contiguous elements of one type (f64, f32, i32) that travel as another one; no operand
/// need be aligned. Additions and roundings are IEEE operations: all implementations give the same
/// bits (of a NaN: that it is one).
struct SumKernels {
  void (*add)(void* y, const void* x, std::int64_t n) = nullptr;  ///< y += x; i32 wraps as MPI_SUM
  /// Rounds to nearest even; f64 to 16 bits goes through f32.
  void (*narrow)(const void* x, void* wire, std::int64_t n) = nullptr;
  void (*widen)(const void* wire, void* x, std::int64_t n) = nullptr;  ///< exact

  explicit operator bool() const { return add != nullptr; }
};

/// Those for elements of `type` that travel as `wire`; none where it has no kernels of its own.
using SumKernelsOf = SumKernels (*)(DType type, DType wire);

}  // namespace isaribi::core
