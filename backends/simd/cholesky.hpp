// SPDX-License-Identifier: MIT
// f32 Cholesky factorisation and the inverse from it, on the products of gemm.cpp.
#pragma once

#include <cstdint>

#include "backends/simd/context.hpp"

namespace isaribi::simd {

/// a [n, n] row-major: its lower triangle becomes L, the strict upper one 0. @return as
/// api::LinalgOps::cholesky.
int cholesky_f32(float* a, std::int64_t n, Context& context);

/// a = (L L^T)^-1, both triangles. @return as api::LinalgOps::cholesky_inverse.
int cholesky_inverse_f32(float* a, std::int64_t n, Context& context);

}  // namespace isaribi::simd
