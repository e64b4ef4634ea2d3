// SPDX-License-Identifier: MIT
// Cholesky factor of a small block and inverse of a small triangle, in registers and L1: the
// diagonal blocks of cholesky.cpp. Included by each ISA unit after its vec_*.hpp.
#pragma once

#include "backends/simd/kernels.hpp"

namespace {

using isaribi::simd::kTriangle;
using isaribi::simd::TriangleBlock;

constexpr int kTriangleVectors = kTriangle / kLanes;

/// U^T U = A right-looking, on rows of U so that every update is a row of vectors; what lies left
/// of the diagonal is computed along and never read.
int cholesky_block(const TriangleBlock& t) {
  alignas(64) float u[kTriangle][kTriangle];
  const ptrdiff_t n = t.n;
  for (ptrdiff_t i = 0; i < n; ++i) {
    for (ptrdiff_t j = 0; j < kTriangle; ++j) u[i][j] = 0.0f;
  }
  for (ptrdiff_t i = 0; i < n; ++i) {
    for (ptrdiff_t j = 0; j <= i; ++j) u[j][i] = t.a[i * t.a_row + j];
  }
  const ptrdiff_t end = (n + kLanes - 1) / kLanes * kLanes;
  for (ptrdiff_t k = 0; k < n; ++k) {
    const float pivot = u[k][k];
    if (!(pivot > 0.0f)) return static_cast<int>(k) + 1;
    const float root = __builtin_sqrtf(pivot);
    const vf divisor = v_set(root);
    for (ptrdiff_t j = k / kLanes * kLanes; j < end; j += kLanes)
      v_store(&u[k][j], v_div(v_load(&u[k][j]), divisor));
    u[k][k] = root;
    for (ptrdiff_t i = k + 1; i < n; ++i) {
      const vf factor = v_set(-u[k][i]);
      for (ptrdiff_t j = i / kLanes * kLanes; j < end; j += kLanes)
        v_store(&u[i][j], v_fma(factor, v_load(&u[k][j]), v_load(&u[i][j])));
    }
  }
  for (ptrdiff_t i = 0; i < n; ++i) {
    for (ptrdiff_t j = 0; j <= i; ++j) t.a[i * t.a_row + j] = u[j][i];
  }
  return 0;
}

/// Row i of L^-1 is (e_i - sum_k<i L[i, k] row k) / L[i, i].
int invert_triangle(const TriangleBlock& t) {
  for (ptrdiff_t i = 0; i < t.n; ++i) {
    const float* l = t.a + i * t.a_row;
    float* row = t.inverse + i * kTriangle;
    if (l[i] == 0.0f) return static_cast<int>(i) + 1;
    vf sum[kTriangleVectors];
#pragma GCC unroll 8
    for (int v = 0; v < kTriangleVectors; ++v) sum[v] = v_zero();
    for (ptrdiff_t k = 0; k < i; ++k) {
      const vf factor = v_set(-l[k]);
      const float* before = t.inverse + k * kTriangle;
#pragma GCC unroll 8
      for (int v = 0; v < kTriangleVectors; ++v)
        sum[v] = v_fma(factor, v_load(before + v * kLanes), sum[v]);
    }
    const vf divisor = v_set(l[i]);
#pragma GCC unroll 8
    for (int v = 0; v < kTriangleVectors; ++v) v_store(row + v * kLanes, v_div(sum[v], divisor));
    row[i] = 1.0f / l[i];
  }
  return 0;
}

}  // namespace
