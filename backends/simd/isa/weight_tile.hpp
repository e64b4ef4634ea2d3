// SPDX-License-Identifier: MIT
// The register tile of weight gradients: an outer product of R runs of S neighbouring inputs
// (broadcast) with NV vectors of output gradients, summed over pixels. It is also the kernel of
// A^T B without packing. Included by each ISA unit after its vec_*.hpp.
#pragma once

#include "backends/simd/isa/lanes.hpp"
#include "backends/simd/kernels.hpp"

namespace {

using isaribi::simd::WeightTile;

template <int NV, int R, int S>
void weight_tile_of(const WeightTile& a) {
  vf acc[R][S][NV];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 14
    for (int s = 0; s < S; ++s) {
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) acc[r][s][v] = v_zero();
    }
  }
  // The sums so far come from memory while this one is formed.
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 14
    for (int s = 0; s < S; ++s) {
      for (int v = 0; v < NV * kLanes; v += 16)
        __builtin_prefetch(a.acc + r * a.acc_run + s * a.acc_step + v, 1);
    }
  }
  const vmask last = v_first(a.channels - (NV - 1) * kLanes);
  const ptrdiff_t run_step = a.run_step;
  const float* ahead = a.ahead ? a.ahead : a.dy;
  const ptrdiff_t line = a.ahead ? 16 : 0;
  for (ptrdiff_t n = 0; n < a.images; ++n) {
    for (ptrdiff_t p = 0; p < a.rows; ++p) {
      const float* x = a.x + n * a.x_image + p * a.x_row;
      const float* dy = a.dy + n * a.dy_image + p * a.dy_row;
      for (ptrdiff_t q = 0; q < a.columns; ++q, x += a.x_pixel, dy += a.dy_pixel) {
        vf g[NV];
#pragma GCC unroll 4
        for (int v = 0; v < NV - 1; ++v) g[v] = v_load(dy + v * kLanes);
        g[NV - 1] = v_load(dy + (NV - 1) * kLanes, last);
        __builtin_prefetch(ahead, 0, 2);
        ahead += line;
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) {
#pragma GCC unroll 14
          for (int s = 0; s < S; ++s) {
            const vf b = v_set(x[r * run_step + s]);
#pragma GCC unroll 4
            for (int v = 0; v < NV; ++v) acc[r][s][v] = v_fma(g[v], b, acc[r][s][v]);
          }
        }
      }
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 14
    for (int s = 0; s < S; ++s) {
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) {
        float* out = a.acc + r * a.acc_run + s * a.acc_step + v * kLanes;
        v_store(out, v_add(v_load(out), acc[r][s][v]));
      }
    }
  }
}

/// One run of 1..S elements.
template <int NV, int S>
inline void weight_run(const WeightTile& a) {
  if (a.run == S) {
    weight_tile_of<NV, 1, S>(a);
  } else if constexpr (S > 1) {
    weight_run<NV, S - 1>(a);
  }
}

/// Several short runs at once: the 3x3 and 5x5 windows of few channels.
bool weight_pair(int runs, int run, int vectors) {
  if (vectors == 1) {
    return (runs == 3 && run == 3) || (runs == 2 && run == 5 && kLanes == 8) ||
           (runs == 5 && run == 5 && kLanes == 16);
  }
  return vectors == 2 && runs == 3 && run == 3 && kLanes == 16;
}

void weight_tile(const WeightTile& a) {
  if (a.runs > 1) {
    if constexpr (kLanes == 16) {
      if (a.run == 5) return weight_tile_of<1, 5, 5>(a);
      if (a.vectors == 2) return weight_tile_of<2, 3, 3>(a);
    } else {
      if (a.run == 5) return weight_tile_of<1, 2, 5>(a);
    }
    return weight_tile_of<1, 3, 3>(a);
  }
  switch (a.vectors) {
    case 1:
      return weight_run<1, kTileRows[1]>(a);
    case 2:
      return weight_run<2, kTileRows[2]>(a);
    case 3:
      return weight_run<3, kTileRows[3]>(a);
    default:
      return weight_run<4, kTileRows[4]>(a);
  }
}

}  // namespace
