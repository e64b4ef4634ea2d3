// SPDX-License-Identifier: MIT
// The register tile of weight gradients: an outer product of R runs of S neighbouring inputs
// (broadcast) with NV vectors of output gradients, summed over pixels. It is also the kernel of
// A^T B without packing. Included by each ISA unit after its vec_*.hpp.
#pragma once

#include "backends/simd/isa/lanes.hpp"
#include "backends/simd/isa/register_tile.hpp"
#include "backends/simd/kernels.hpp"

namespace {

using isaribi::simd::WeightPixel;
using isaribi::simd::WeightTile;

/// acc[r][s][v] += x[r run_step + s] dy[v]. PART: the last vector is not full; a masked load takes
/// the place of an FMA.
template <bool PART, int NV, int R, int S>
[[gnu::always_inline]] inline void weight_step(const float* dy, vmask last, const float* x,
                                               ptrdiff_t run_step, vf (&acc)[R][S][NV]) {
  const auto vector = [&](int v) {
    return PART && v == NV - 1 ? v_load(dy + v * kLanes, last) : v_load(dy + v * kLanes);
  };
  if constexpr (NV <= R * S) {
    vf g[NV];
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) g[v] = vector(v);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
      for (int s = 0; s < S; ++s) {
        const vf b = v_set(x[r * run_step + s]);
#pragma GCC unroll 4
        for (int v = 0; v < NV; ++v) v_fma_to(acc[r][s][v], g[v], b);
      }
    }
  } else {
    vf b[R][S];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
      for (int s = 0; s < S; ++s) b[r][s] = v_set(x[r * run_step + s]);
    }
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) {
      const vf g = vector(v);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
        for (int s = 0; s < S; ++s) v_fma_to(acc[r][s][v], g, b[r][s]);
      }
    }
  }
}

/// The sums over all pixels. MANY: more than one line is fetched per turn, a loop that others would
/// feel.
template <bool MANY, bool PART, int NV, int R, int S>
[[gnu::always_inline]] inline void weight_pixels(const WeightTile& a, vf (&acc)[R][S][NV]) {
  const vmask last = v_first(a.channels - (NV - 1) * kLanes);
  const ptrdiff_t run_step = a.run_step;
  const float* ahead = a.ahead ? a.ahead : a.dy;
  const ptrdiff_t line = a.ahead ? 16 : 0;
  for (ptrdiff_t n = 0; n < a.images; ++n) {
    const float *x = a.x + n * a.x_image, *dy = a.dy + n * a.dy_image;
    const WeightPixel* at = a.at;
    ptrdiff_t left = a.pixels;
    for (; left >= kSteps; left -= kSteps, at += kSteps, ahead += line) {
#pragma GCC unroll 1
      for (int i = MANY ? a.ahead_lines : 1; i > 1; --i, ahead += line)
        __builtin_prefetch(ahead, 0, 2);
      __builtin_prefetch(ahead, 0, 2);
#pragma GCC unroll 4
      for (int u = 0; u < kSteps; ++u) {
        weight_step<PART>(dy + at[u].dy, last, x + at[u].x, run_step, acc);
        // With all sixteen registers in use the compiler would spill what it loads for later steps.
        if constexpr (kLanes == 8) asm volatile("" ::: "memory");
      }
    }
#pragma GCC unroll 1
    for (; left > 0; --left, ++at) weight_step<PART>(dy + at->dy, last, x + at->x, run_step, acc);
  }
}

template <bool PART, int NV, int R, int S>
void weight_tile_of(const WeightTile& a) {
  vf acc[R][S][NV];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
    for (int s = 0; s < S; ++s) {
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) acc[r][s][v] = v_zero();
    }
  }
  // The sums so far come from memory while this one is formed.
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
    for (int s = 0; s < S; ++s) {
      for (int v = 0; v < NV * kLanes; v += 16)
        __builtin_prefetch(a.acc + r * a.acc_run + s * a.acc_step + v, 1);
    }
  }
  if (a.ahead && a.ahead_lines > 1) {
    weight_pixels<true, PART>(a, acc);
  } else {
    weight_pixels<false, PART>(a, acc);
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
    for (int s = 0; s < S; ++s) {
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) {
        float* out = a.acc + r * a.acc_run + s * a.acc_step + v * kLanes;
        v_store(out, v_add(v_load(out), acc[r][s][v]));
      }
    }
  }
}

template <int NV, int R, int S>
inline void weight_runs(const WeightTile& a) {
  if (a.channels == NV * kLanes) {
    weight_tile_of<false, NV, R, S>(a);
  } else {
    weight_tile_of<true, NV, R, S>(a);
  }
}

/// One run of 1..S elements.
template <int NV, int S>
inline void weight_run(const WeightTile& a) {
  if (a.run == S) {
    weight_runs<NV, 1, S>(a);
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
      if (a.run == 5) return weight_runs<1, 5, 5>(a);
      if (a.vectors == 2) return weight_runs<2, 3, 3>(a);
    } else {
      if (a.run == 5) return weight_runs<1, 2, 5>(a);
    }
    return weight_runs<1, 3, 3>(a);
  }
  switch (a.vectors) {
    case 1:
      return weight_run<1, kOuterRows[1]>(a);
    case 2:
      return weight_run<2, kOuterRows[2]>(a);
    case 3:
      return weight_run<3, kOuterRows[3]>(a);
    default:
      return weight_run<4, kOuterRows[4]>(a);
  }
}

}  // namespace
