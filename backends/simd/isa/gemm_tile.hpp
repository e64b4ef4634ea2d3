// SPDX-License-Identifier: MIT
// The register tile of GEMM over a panel of B and rows of A, packed or where they lie (Goto and van
// de Geijn, "Anatomy of high-performance matrix multiplication", ACM TOMS 34, 2008). Included by
// each ISA unit after its vec_*.hpp.
#pragma once

#include "backends/simd/isa/register_tile.hpp"
#include "backends/simd/kernels.hpp"

namespace {

using isaribi::simd::GemmTile;

/// c = act(alpha acc + beta c + bias); beta = 0 does not read c. PART: the last vector is not full.
template <bool PART, int NV, int MR>
[[gnu::always_inline]] inline void gemm_store(const GemmTile& t, vf (&acc)[NV][MR]) {
  const vf alpha = v_set(t.alpha), beta = v_set(t.beta);
  const vmask last = v_first(t.columns - (NV - 1) * kLanes);
  vf bias[NV];
#pragma GCC unroll 4
  for (int v = 0; v < NV; ++v) {
    bias[v] = !t.bias               ? v_zero()
              : PART && v == NV - 1 ? v_load(t.bias + v * kLanes, last)
                                    : v_load(t.bias + v * kLanes);
  }
#pragma GCC unroll 14
  for (int m = 0; m < MR; ++m) {
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) {
      const bool part = PART && v == NV - 1;
      float* p = t.c + m * t.c_row + v * kLanes;
      vf r = v_mul(alpha, acc[v][m]);
      if (t.beta != 0.0f) r = v_fma(beta, part ? v_load(p, last) : v_load(p), r);
      if (t.bias) r = v_add(r, bias[v]);
      if (t.relu) r = v_relu(r);
      if (part) {
        v_store(p, r, last);
      } else {
        v_store(p, r);
      }
    }
  }
}

/// sums += acc, in f64.
template <int NV, int MR>
[[gnu::always_inline]] inline void gemm_add_sums(const GemmTile& t, vf (&acc)[NV][MR]) {
#pragma GCC unroll 14
  for (int m = 0; m < MR; ++m) {
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) {
      double* low = t.sums + m * t.sums_row + v * kLanes;
      double* high = low + kDoubles;
      d_store(low, d_add(d_load(low), d_low(acc[v][m])));
      d_store(high, d_add(d_load(high), d_high(acc[v][m])));
    }
  }
}

template <int NV, int MR>
void gemm_rows(const GemmTile& t) {
  // C comes from memory while the sums are formed.
#pragma GCC unroll 14
  for (int m = 0; m < MR; ++m) {
    const float* row = t.c + m * t.c_row;  // of nothing with `sums`: a prefetch does no harm
    for (int v = 0; v < NV * kLanes; v += 16) __builtin_prefetch(row + v, 1);
  }
  vf acc[NV][MR];
  clear(acc);
  if (t.a_row == 1) {
    multiply_add<true>(t.a, t.a_step, t.b, t.b_step, t.k, t.ahead ? t.ahead : t.b, acc);
  } else {
    multiply_add<false>(t.a, t.a_row, t.b, t.b_step, t.k, t.ahead ? t.ahead : t.b, acc);
  }
  if (t.sums) {
    gemm_add_sums(t, acc);
  } else if (t.columns == NV * kLanes) {
    gemm_store<false>(t, acc);
  } else {
    gemm_store<true>(t, acc);
  }
}

/// Calls the tile of the run-time height `t.rows` <= MR.
template <int NV, int MR>
inline void gemm_rows_of(const GemmTile& t) {
  if (t.rows == MR) {
    gemm_rows<NV, MR>(t);
  } else if constexpr (MR > 1) {
    gemm_rows_of<NV, MR - 1>(t);
  }
}

void gemm_tile(const GemmTile& t) {
  switch ((t.columns + kLanes - 1) / kLanes) {
    case 1:
      return gemm_rows_of<1, kTileRows[1]>(t);
    case 2:
      return gemm_rows_of<2, kTileRows[2]>(t);
    case 3:
      return gemm_rows_of<3, kTileRows[3]>(t);
    default:
      return gemm_rows_of<4, kTileRows[4]>(t);
  }
}

}  // namespace
