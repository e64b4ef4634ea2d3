// SPDX-License-Identifier: MIT
// The register tile of second moments: an outer product of R neighbouring elements (broadcast) with
// NV vectors that may lie anywhere, summed over pixels. Included by each ISA unit after its
// vec_*.hpp.
#pragma once

#include "backends/simd/isa/lanes.hpp"
#include "backends/simd/kernels.hpp"

namespace {

using isaribi::simd::FactorTile;

/// acc += a b^T for one pixel. PART: the last vector is not full; a masked load takes the place of
/// an FMA.
template <bool PART, int NV, int R>
inline void factor_pixel(const float* a, const float* const (&b)[NV], ptrdiff_t at, vmask last,
                         vf (&acc)[R][NV]) {
  vf right[NV];
#pragma GCC unroll 4
  for (int v = 0; v < NV; ++v)
    right[v] = PART && v == NV - 1 ? v_load(b[v] + at, last) : v_load(b[v] + at);
#pragma GCC unroll 16
  for (int m = 0; m < R; ++m) {
    const vf left = v_set(a[m]);
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) acc[m][v] = v_fma(right[v], left, acc[m][v]);
  }
}

template <bool PART, bool LISTED, int NV, int R>
void factor_tile_of(const FactorTile& t) {
  // Small tiles sum neighbouring pixels apart: a fused multiply-add waits for the one before it.
  constexpr int kChains = NV * R <= 3 ? 4 : NV * R <= 6 ? 2 : 1;
  vf acc[kChains][R][NV];
#pragma GCC unroll 4
  for (int c = 0; c < kChains; ++c) {
#pragma GCC unroll 16
    for (int m = 0; m < R; ++m) {
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) acc[c][m][v] = v_zero();
    }
  }
  const vmask last = v_first(t.last);
  const float* a0 = t.a;
  const float* b0[NV];
  for (int v = 0; v < NV; ++v) b0[v] = t.b + t.offset[v];
  const ptrdiff_t a_step = t.a_step[2], b_step = t.b_step[2], n = t.count[2];
  for (ptrdiff_t i = 0; i < t.count[0]; ++i) {
    for (ptrdiff_t j = 0; j < t.count[1]; ++j) {
      const float* a = a0 + i * t.a_step[0] + j * t.a_step[1];
      ptrdiff_t at = i * t.b_step[0] + j * t.b_step[1], k = 0;
      if constexpr (LISTED) {
        for (; k + kChains <= n; k += kChains) {
#pragma GCC unroll 4
          for (int c = 0; c < kChains; ++c)
            factor_pixel<PART, NV, R>(a + t.at[k + c], b0, at + t.at[k + c], last, acc[c]);
        }
        for (; k < n; ++k) factor_pixel<PART, NV, R>(a + t.at[k], b0, at + t.at[k], last, acc[0]);
        continue;
      }
      for (; k + kChains <= n; k += kChains) {
#pragma GCC unroll 4
        for (int c = 0; c < kChains; ++c, a += a_step, at += b_step)
          factor_pixel<PART, NV, R>(a, b0, at, last, acc[c]);
      }
      for (; k < n; ++k, a += a_step, at += b_step)
        factor_pixel<PART, NV, R>(a, b0, at, last, acc[0]);
    }
  }
#pragma GCC unroll 16
  for (int m = 0; m < R; ++m) {
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) {
      float* out = t.acc + m * t.acc_row + v * kLanes;
      vf sum = acc[0][m][v];
#pragma GCC unroll 4
      for (int c = 1; c < kChains; ++c) sum = v_add(sum, acc[c][m][v]);
      v_store(out, t.add ? v_add(v_load(out), sum) : sum);
    }
  }
}

/// Calls the tile of the run-time height t.rows <= R.
template <int NV, int R>
inline void factor_rows(const FactorTile& t) {
  if (t.rows == R) {
    if (t.at) return factor_tile_of<false, true, NV, R>(t);
    t.last == kLanes ? factor_tile_of<false, false, NV, R>(t)
                     : factor_tile_of<true, false, NV, R>(t);
  } else if constexpr (R > 1) {
    factor_rows<NV, R - 1>(t);
  }
}

void factor_tile(const FactorTile& t) {
  switch (t.vectors) {
    case 1:
      return factor_rows<1, kOuterRows[1]>(t);
    case 2:
      return factor_rows<2, kOuterRows[2]>(t);
    case 3:
      return factor_rows<3, kOuterRows[3]>(t);
    default:
      return factor_rows<4, kOuterRows[4]>(t);
  }
}

/// Row k of the sums and differences of four rows goes to out + k step: of the first two, then of
/// those they are multiplied with (factor_pairs.hpp).
void pair_rows(const float* x, ptrdiff_t row, float* out, ptrdiff_t step) {
  each(row, [&](ptrdiff_t i, auto m) {
    const vf y0 = get(x + i, m), y1 = get(x + row + i, m), y2 = get(x + 2 * row + i, m),
             y3 = get(x + 3 * row + i, m);
    put(out + i, v_add(y0, y1), m);
    put(out + step + i, v_sub(y0, y1), m);
    put(out + 2 * step + i, v_sub(y0, y2), m);
    put(out + 3 * step + i, v_add(y1, y2), m);
    put(out + 4 * step + i, v_sub(y2, y1), m);
    put(out + 5 * step + i, v_sub(y3, y1), m);
    put(out + 6 * step + i, v_sub(y3, y2), m);
  });
}

/// Elements [i, i + V lanes) of one window.
template <int V>
inline void sum_window(const float* x, ptrdiff_t step, ptrdiff_t first, ptrdiff_t last, float* to) {
  vf sum[V];
#pragma GCC unroll 4
  for (int v = 0; v < V; ++v)
    sum[v] = first < last ? v_load(x + first * step + v * kLanes) : v_zero();
  for (ptrdiff_t c = first + 1; c < last; ++c) {
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) sum[v] = v_add(sum[v], v_load(x + c * step + v * kLanes));
  }
#pragma GCC unroll 4
  for (int v = 0; v < V; ++v) v_store(to + v * kLanes, sum[v]);
}

/// All windows of the same elements, one after the other: cells are in L1 from the second on.
void sum_windows(const float* x, ptrdiff_t step, const ptrdiff_t* first, const ptrdiff_t* last,
                 ptrdiff_t windows, float* to, ptrdiff_t to_step, ptrdiff_t n) {
  ptrdiff_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
    for (ptrdiff_t w = 0; w < windows; ++w)
      sum_window<4>(x + i, step, first[w], last[w], to + w * to_step + i);
  }
  for (; i < n; i += kLanes) {
    for (ptrdiff_t w = 0; w < windows; ++w)
      sum_window<1>(x + i, step, first[w], last[w], to + w * to_step + i);
  }
}

/// y += x, in f64.
inline void widen_add_row(const float* x, double* y, ptrdiff_t n) {
  ptrdiff_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const vf v = v_load(x + i);
    d_store(y + i, d_add(d_load(y + i), d_low(v)));
    d_store(y + i + kDoubles, d_add(d_load(y + i + kDoubles), d_high(v)));
  }
  for (; i + kDoubles <= n; i += kDoubles)
    d_store(y + i, d_add(d_load(y + i), d_from_floats(x + i)));
  for (; i < n; ++i) y[i] += static_cast<double>(x[i]);
}

void widen_add(const float* x, ptrdiff_t x_row, double* y, ptrdiff_t y_row, ptrdiff_t rows,
               ptrdiff_t n) {
  for (ptrdiff_t r = 0; r < rows; ++r) widen_add_row(x + r * x_row, y + r * y_row, n);
}

}  // namespace
