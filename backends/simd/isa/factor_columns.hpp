// SPDX-License-Identifier: MIT
// The tiles of factor_columns.cpp: products of planes of an image, whose lanes are neighbouring
// columns. Included by each ISA unit after its vec_*.hpp.
#pragma once

#include "backends/simd/isa/lanes.hpp"
#include "backends/simd/kernels.hpp"

namespace {

using isaribi::simd::ColumnTile;
using isaribi::simd::ColumnWindows;
using isaribi::simd::kMostColumnShifts;

constexpr int kMostPlanes = 5;
static_assert(kColumnAccumulators <= isaribi::simd::kMostColumnPairs);

/// Planes of a tile of `shifts` shifts.
constexpr int column_planes(int shifts) {
  const int planes = kColumnAccumulators / shifts;
  return planes > kMostPlanes ? kMostPlanes : planes;
}

template <int A, int B>
void column_tile_of(const ColumnTile& t) {
  vf acc[A][B];
#pragma GCC unroll 5
  for (int i = 0; i < A; ++i) {
#pragma GCC unroll 9
    for (int j = 0; j < B; ++j) acc[i][j] = v_zero();
  }
  for (ptrdiff_t n = 0; n < t.samples; ++n) {
    const float* a = t.a + n * t.a_image;
    const float* b = t.b + n * t.b_image;
    for (ptrdiff_t h = 0; h < t.rows; ++h, a += t.a_row, b += t.b_row) {
      vf left[A];
#pragma GCC unroll 5
      for (int i = 0; i < A; ++i) left[i] = v_load(a + i * t.a_plane);
#pragma GCC unroll 9
      for (int j = 0; j < B; ++j) {
        vf right = v_load(b + j * t.shift);
        asm("" : "+v"(right));  // one load that crosses a line, not one per product
#pragma GCC unroll 5
        for (int i = 0; i < A; ++i) acc[i][j] = v_fma(left[i], right, acc[i][j]);
      }
    }
  }
#pragma GCC unroll 5
  for (int i = 0; i < A; ++i) {
#pragma GCC unroll 9
    for (int j = 0; j < B; ++j) v_store(t.acc + (i * B + j) * t.acc_step, acc[i][j]);
  }
}

template <int B, int A = column_planes(B)>
void column_planes_of(const ColumnTile& t) {
  if constexpr (A > 1) {
    if (t.planes != A) return column_planes_of<B, A - 1>(t);
  }
  column_tile_of<A, B>(t);
}

template <int B = kMostColumnShifts>
void column_tile(const ColumnTile& t) {
  if (t.shifts == B) {
    column_planes_of<B>(t);
  } else if constexpr (B > 1) {
    column_tile<B - 1>(t);
  }
}

/// Rows [i, i + R) of the sums of windows.
template <int R>
void window_rows(const ColumnWindows& t, ptrdiff_t i) {
  vf sum[R];
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) sum[r] = v_zero();
  const float* x = t.x + i * t.x_step;
  for (ptrdiff_t w = 0; w < t.columns; ++w) {
    const vf seen = v_load(t.seen + w * kLanes);
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) sum[r] = v_fma(v_set(x[r * t.x_step + w]), seen, sum[r]);
  }
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) v_store(t.y + (i + r) * kLanes, sum[r]);
}

void column_windows(const ColumnWindows& t) {
  ptrdiff_t i = 0;
  for (; i + 4 <= t.count; i += 4) window_rows<4>(t, i);
  for (; i < t.count; ++i) window_rows<1>(t, i);
}

/// An image of one channel, whose rows follow each other.
void stage_plane(const float* x, ptrdiff_t rows, ptrdiff_t width, float* to) {
  const ptrdiff_t whole = width / kLanes * kLanes;
  const vmask tail = v_first(static_cast<int>(width - whole));
  for (; rows > 0; --rows, x += width) {
    v_store(to, v_zero());
    to += kLanes;
    for (ptrdiff_t i = 0; i < whole; i += kLanes, to += kLanes) v_store(to, v_load(x + i));
    if (whole == width) continue;
    v_store(to, v_load(x + whole, tail));
    to += kLanes;
  }
}

/// One channel of several.
void stage_rows(const float* x, ptrdiff_t step, ptrdiff_t rows, ptrdiff_t width, float* to) {
  if (step == 1) return stage_plane(x, rows, width, to);
  const ptrdiff_t tail = width % kLanes, pitch = kLanes + width + (tail == 0 ? 0 : kLanes - tail);
  for (; rows > 0; --rows, x += width * step, to += pitch) {
    v_store(to, v_zero());
    v_store(to + pitch - kLanes, v_zero());
    for (ptrdiff_t i = 0; i < width; ++i) to[kLanes + i] = x[i * step];
  }
}

}  // namespace
