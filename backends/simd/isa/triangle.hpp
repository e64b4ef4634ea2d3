// SPDX-License-Identifier: MIT
// Cholesky factor of a small block and inverse of a small triangle, in registers and L1: the
// diagonal blocks of cholesky.cpp. Included by each ISA unit after its vec_*.hpp.
#pragma once

#include "backends/simd/isa/gemm_pack.hpp"
#include "backends/simd/isa/register_tile.hpp"
#include "backends/simd/kernels.hpp"

namespace {

using isaribi::simd::kTriangle;
using isaribi::simd::TriangleBlock;

constexpr int kTriangleVectors = kTriangle / kLanes;
/// Rows that are summed at once: alone they would wait for one FMA after the other.
constexpr int kTriangleRows = kLanes == 16 ? 4 : 1;

using TriangleRows = float[kTriangle][kTriangle];

/// acc[r] += sum over k in [begin, end) of f(k, r) row k of `rows`, vectors from FIRST on.
template <int FIRST, int V, class Factor>
[[gnu::always_inline]] inline void add_rows(const float* rows, ptrdiff_t begin, ptrdiff_t end,
                                            const Factor& factor, vf (&acc)[kTriangleRows][V]) {
  for (ptrdiff_t k = begin; k < end; ++k) {
    const float* row = rows + k * kTriangle + FIRST * kLanes;
    vf x[V];
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) x[v] = v_load(row + v * kLanes);
#pragma GCC unroll 4
    for (int r = 0; r < kTriangleRows; ++r) {
      const vf f = v_set(factor(k, r));
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) acc[r][v] = v_fma(f, x[v], acc[r][v]);
    }
  }
}

/// Rows of U with U^T U = A, of which u holds the rows of A, those that begin within vector FIRST:
/// each is what is left of A's, over the root of its pivot. What lies left of the diagonal is
/// computed along and never read.
template <int FIRST>
int factor_rows_from(TriangleRows& u, ptrdiff_t n) {
  constexpr int V = kTriangleVectors - FIRST;
  const ptrdiff_t end = n < (FIRST + 1) * kLanes ? n : (FIRST + 1) * kLanes;
  for (ptrdiff_t i = FIRST * kLanes; i < end; i += kTriangleRows) {
    vf acc[kTriangleRows][V];
    clear(acc);
    add_rows<FIRST>(
        u[0], 0, i, [&](ptrdiff_t k, int r) { return u[k][i + r]; }, acc);
    const int rows = end - i < kTriangleRows ? static_cast<int>(end - i) : kTriangleRows;
    for (int r = 0; r < rows; ++r) {
      float* row = u[i + r] + FIRST * kLanes;
      vf left[V];
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) left[v] = v_sub(v_load(row + v * kLanes), acc[r][v]);
      for (int q = 0; q < r; ++q) {
        const vf f = v_set(-u[i + q][i + r]);
#pragma GCC unroll 8
        for (int v = 0; v < V; ++v)
          left[v] = v_fma(f, v_load(u[i + q] + (FIRST + v) * kLanes), left[v]);
      }
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) v_store(row + v * kLanes, left[v]);
      const float pivot = u[i + r][i + r];
      if (!(pivot > 0.0f)) return static_cast<int>(i + r) + 1;
      const float root = __builtin_sqrtf(pivot);
      const vf inverse = v_set(1.0f / root);
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) v_store(row + v * kLanes, v_mul(left[v], inverse));
      u[i + r][i + r] = root;
    }
  }
  return 0;
}

template <int FIRST = 0>
int factor_triangle(TriangleRows& u, ptrdiff_t n) {
  const int info = factor_rows_from<FIRST>(u, n);
  if constexpr (FIRST + 1 < kTriangleVectors) {
    if (info == 0 && n > (FIRST + 1) * kLanes) return factor_triangle<FIRST + 1>(u, n);
  }
  return info;
}

/// By rows of U, so that every sum is of rows of vectors.
int cholesky_block(const TriangleBlock& t) {
  alignas(64) TriangleRows u;
  const ptrdiff_t n = t.n;
  for (ptrdiff_t i = 0; i < (n + kTriangleRows - 1) / kTriangleRows * kTriangleRows; ++i) {
    for (ptrdiff_t j = 0; j < kTriangle; ++j) u[i][j] = 0.0f;
  }
  for (ptrdiff_t i = 0; i < n; i += 8)
    pack_lines_of<8>(n - i, t.a + i * t.a_row, t.a_row, i + 8 < n ? i + 8 : n, kTriangle, &u[0][i]);
  if (const int info = factor_triangle(u, n)) return info;
  ptrdiff_t k = 0;
  for (; k + 8 <= n; k += 8)
    pack_lines<8>(&u[k][k], kTriangle, n - k, t.a_row, t.a + k * t.a_row + k);
  for (ptrdiff_t i = k; i < n; ++i) {
    for (ptrdiff_t j = k; j <= i; ++j) t.a[i * t.a_row + j] = u[j][i];
  }
  return 0;
}

/// Row i of L^-1 is (e_i - sum_k<i L[i, k] row k) / L[i, i]: those that begin within vector LAST,
/// which is the last one that is not 0.
template <int LAST>
int invert_rows_to(const TriangleBlock& t) {
  constexpr int V = LAST + 1;
  const ptrdiff_t end = t.n < V * kLanes ? t.n : V * kLanes;
  for (ptrdiff_t i = LAST * kLanes; i < end; i += kTriangleRows) {
    vf acc[kTriangleRows][V];
    clear(acc);
    const int rows = end - i < kTriangleRows ? static_cast<int>(end - i) : kTriangleRows;
    const float* l[kTriangleRows];
    for (int r = 0; r < kTriangleRows; ++r) l[r] = t.a + (i + (r < rows ? r : 0)) * t.a_row;
    add_rows<0>(
        t.inverse, 0, i, [&](ptrdiff_t k, int r) { return l[r][k]; }, acc);
    for (int r = 0; r < rows; ++r) {
      const float diagonal = l[r][i + r];
      if (diagonal == 0.0f) return static_cast<int>(i + r) + 1;
      for (int q = 0; q < r; ++q) {
        const vf f = v_set(l[r][i + q]);
#pragma GCC unroll 8
        for (int v = 0; v < V; ++v)
          acc[r][v] = v_fma(f, v_load(t.inverse + (i + q) * kTriangle + v * kLanes), acc[r][v]);
      }
      const vf inverse = v_set(-1.0f / diagonal);
      float* row = t.inverse + (i + r) * kTriangle;
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) v_store(row + v * kLanes, v_mul(acc[r][v], inverse));
      for (int v = V; v < kTriangleVectors; ++v) v_store(row + v * kLanes, v_zero());
      row[i + r] = 1.0f / diagonal;
    }
  }
  return 0;
}

template <int LAST = 0>
int invert_triangle(const TriangleBlock& t) {
  const int info = invert_rows_to<LAST>(t);
  if constexpr (LAST + 1 < kTriangleVectors) {
    if (info == 0 && t.n > (LAST + 1) * kLanes) return invert_triangle<LAST + 1>(t);
  }
  return info;
}

}  // namespace
