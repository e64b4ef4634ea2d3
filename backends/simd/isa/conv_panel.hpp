// SPDX-License-Identifier: MIT
// The register tile of convolution: NV vectors of output channels by MR pixels. Taps are walked by
// pointer (batch-reduce GEMM), so that no im2col is stored. Included by each ISA unit after its
// vec_*.hpp.
#pragma once

#include "backends/simd/isa/lanes.hpp"
#include "backends/simd/isa/register_tile.hpp"
#include "backends/simd/kernels.hpp"

namespace {

using isaribi::simd::ConvPanel;
using isaribi::simd::GatherRow;

/// Adds what is asked for and stores one tile. PART: the last vector is not full.
template <int NV, int MR, bool PART>
inline void store_tile(const ConvPanel& a, float* y, vf (&acc)[NV][MR]) {
  const vmask last = v_first(a.channels - (NV - 1) * kLanes);
  if (a.bias) add_bias<false>(a.bias, last, acc);
  if (a.accumulate) {
#pragma GCC unroll 16
    for (int m = 0; m < MR; ++m) {
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v)
        acc[v][m] = v_add(acc[v][m], load_part<PART, NV>(y + m * a.y_pixel, v, last));
    }
  }
  if (a.relu) relu_rows(acc);
  store_rows<PART>(y, a.y_pixel, last, acc);
}

template <int NV, int MR>
inline void finish_tile(const ConvPanel& a, float* y, vf (&acc)[NV][MR]) {
  if (a.channels == NV * kLanes) {
    store_tile<NV, MR, false>(a, y, acc);
  } else {
    store_tile<NV, MR, true>(a, y, acc);
  }
}

/// What is used after a tile, fetched while it is multiplied: some rows of the y of the next tile
/// per segment, since all at once would take the buffers that the loads of w need, and a line of
/// what is read later per kSteps steps.
struct Fetch {
  const float *ahead, *end;  // end is nullptr where nothing is to be fetched

  template <int NV>
  static void rows_of_y(const ConvPanel& a, const float* y, ptrdiff_t rows) {
    for (; rows > 0; --rows, y += a.y_pixel) {
#pragma GCC unroll 4
      for (int v = 0; v < NV * kLanes; v += 16) __builtin_prefetch(y + v, 1);
    }
  }
  ptrdiff_t line() const {
    return ahead < end ? 4 * kSteps : 0;
  }
};

/// Nothing is fetched beside short segments, which have no time for it, nor where the driver asks
/// for nothing. At the ends of a row taps that meet padding with the pixel there leave it out.
enum class TileKind { no_fetch, inner, end_of_row };

/// One segment, for pixels FROM <= m < TO; w moves on.
template <TileKind KIND, int FROM, int TO, int NV, int MR>
[[gnu::always_inline]] inline void conv_tap(const ConvPanel& a, const float* x, const float*& w,
                                            Fetch& fetch, vf (&acc)[NV][MR]) {
  const float* none = w;
  const bool fetches = KIND != TileKind::no_fetch;
  multiply_add_rows<FROM, TO>(x, a.x_pixel, Fixed<1>{}, w, Fixed<NV * kLanes>{}, a.run,
                              fetches ? fetch.ahead : none, fetches ? fetch.line() : 0, acc);
}

template <TileKind KIND, int NV, int MR>
inline void conv_tile(const ConvPanel& a, int ends, const float* x, float* y, Fetch& fetch) {
  vf acc[NV][MR];
  clear(acc);
  const float *w = a.w, *next = y + MR * a.y_pixel;
  const ptrdiff_t rows = (MR + a.segments - 1) / (a.segments > 0 ? a.segments : 1);
  for (int t = 0; t < a.segments; ++t) {
    if (KIND != TileKind::no_fetch && t * rows < MR)
      Fetch::rows_of_y<NV>(a, next + t * rows * a.y_pixel, rows);
    const float* from = x + a.offset[t];
    const int out = KIND == TileKind::end_of_row ? a.edge[t] & ends : 0;
    if (KIND == TileKind::end_of_row && MR == 1 && out != 0) {
      w += a.run * NV * kLanes;
    } else if (KIND == TileKind::end_of_row && MR > 1 && out == isaribi::simd::kEdgeFirst) {
      conv_tap<KIND, 1, MR>(a, from, w, fetch, acc);
    } else if (KIND == TileKind::end_of_row && MR > 1 && out == isaribi::simd::kEdgeLast) {
      conv_tap<KIND, 0, MR - 1>(a, from, w, fetch, acc);
    } else {
      conv_tap<KIND, 0, MR>(a, from, w, fetch, acc);
    }
  }
  finish_tile(a, y, acc);
}

/// Calls the tile of the run-time height `m` <= MR.
template <int NV, int MR>
inline void conv_tile_of(int m, const ConvPanel& a, int ends, const float* x, float* y,
                         Fetch& fetch) {
  constexpr int kLongSegment = 16;
  if (m == MR) {
    if (ends != 0) {
      conv_tile<TileKind::end_of_row, NV, MR>(a, ends, x, y, fetch);
    } else if (a.run >= kLongSegment && a.ahead) {
      conv_tile<TileKind::inner, NV, MR>(a, ends, x, y, fetch);
    } else {
      conv_tile<TileKind::no_fetch, NV, MR>(a, ends, x, y, fetch);
    }
  } else if constexpr (MR > 1) {
    conv_tile_of<NV, MR - 1>(m, a, ends, x, y, fetch);
  }
}

/// Rows of pixels cut into tiles of nearly equal height.
template <int NV>
const float* conv_rows(const ConvPanel& a) {
  constexpr int kMax = kTileRows[NV];
  const ptrdiff_t tiles = (a.columns + kMax - 1) / kMax;
  if (tiles == 0) return a.ahead;
  Fetch fetch{a.ahead ? a.ahead : a.w, a.ahead_end};
  const int base = static_cast<int>(a.columns / tiles);
  const ptrdiff_t larger = a.columns - base * tiles;  // this many tiles have one pixel more
  for (ptrdiff_t p = 0; p < a.rows; ++p) {
    const float* x = a.x + p * a.x_row;
    float* y = a.y + p * a.y_row;
    for (ptrdiff_t t = 0; t < tiles; ++t) {
      const int m = base + (t < larger ? 1 : 0);
      const int ends = !a.edge ? 0
                               : (t == 0 ? isaribi::simd::kEdgeFirst : 0) |
                                     (t == tiles - 1 ? isaribi::simd::kEdgeLast : 0);
      conv_tile_of<NV, kMax>(m, a, ends, x, y, fetch);
      x += m * a.x_pixel;
      y += m * a.y_pixel;
    }
  }
  return a.ahead ? fetch.ahead : nullptr;
}

const float* conv_panel(const ConvPanel& a) {
  switch (a.vectors) {
    case 1:
      return conv_rows<1>(a);
    case 2:
      return conv_rows<2>(a);
    case 3:
      return conv_rows<3>(a);
    default:
      return conv_rows<4>(a);
  }
}

/// The taps known to the compiler, 0: those of `a`. Where pixels follow each other nothing is
/// masked: lanes of other pixels are overwritten by these.
template <int TAPS>
void gather_pixels(const GatherRow& a) {
  const vmask channels = v_first(a.channels);
  const vf bias = a.bias ? v_load(a.bias, channels) : v_zero();
  const ptrdiff_t step = a.z_pixel + a.channels;
  const ptrdiff_t whole = a.channels == kLanes      ? a.columns
                          : a.y_pixel == a.channels ? a.columns - (kLanes - 1) / a.channels
                                                    : 0;
  const float* z = a.z;
  float* y = a.y;
  for (ptrdiff_t w = 0; w < a.columns; ++w, z += a.z_pixel, y += a.y_pixel) {
    vf sum = bias;
#pragma GCC unroll 8
    for (int s = 0; s < (TAPS > 0 ? TAPS : a.taps); ++s) sum = v_add(sum, v_load(z + s * step));
    if (a.relu) sum = v_relu(sum);
    if (w < whole) {
      v_store(y, sum);
    } else {
      v_store(y, sum, channels);
    }
  }
}

void gather_row(const GatherRow& a) {
  switch (a.taps) {
    case 1:
      return gather_pixels<1>(a);
    case 2:
      return gather_pixels<2>(a);
    case 3:
      return gather_pixels<3>(a);
    default:
      return gather_pixels<0>(a);
  }
}

}  // namespace
