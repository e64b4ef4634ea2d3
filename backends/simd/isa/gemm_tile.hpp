// SPDX-License-Identifier: MIT
// The register tile of GEMM: NV vectors of columns by MR rows over packed panels, so that every
// load is contiguous whatever the layout of the operands (Goto and van de Geijn, "Anatomy of
// high-performance matrix multiplication", ACM TOMS 34, 2008). Included by each ISA unit after its
// vec_*.hpp.
#pragma once

#include "backends/simd/isa/lanes.hpp"
#include "backends/simd/kernels.hpp"

namespace {

using isaribi::simd::GemmTile;

/// c = alpha acc + beta c for one row of the tile; beta = 0 does not read c.
template <int NV, int MR, bool PART>
inline void gemm_store(const GemmTile& t, vf (&acc)[NV][MR]) {
  const vf alpha = v_set(t.alpha), beta = v_set(t.beta);
  const vmask last = v_first(t.columns - (NV - 1) * kLanes);
#pragma GCC unroll 14
  for (int m = 0; m < MR; ++m) {
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) {
      const bool part = PART && v == NV - 1;
      float* p = t.c + m * t.c_row + v * kLanes;
      vf r = v_mul(alpha, acc[v][m]);
      if (t.beta != 0.0f) r = v_fma(beta, part ? v_load(p, last) : v_load(p), r);
      if (part) {
        v_store(p, r, last);
      } else {
        v_store(p, r);
      }
    }
  }
}

template <int NV, int MR>
inline void gemm_rows(const GemmTile& t) {
  vf acc[NV][MR];
#pragma GCC unroll 4
  for (int v = 0; v < NV; ++v) {
#pragma GCC unroll 14
    for (int m = 0; m < MR; ++m) acc[v][m] = v_zero();
  }
  const float *a = t.a, *b = t.b;
  for (ptrdiff_t k = 0; k < t.k; ++k, a += t.a_step, b += t.b_step) {
    vf bv[NV];
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) bv[v] = v_load(b + v * kLanes);
#pragma GCC unroll 14
    for (int m = 0; m < MR; ++m) {
      const vf am = v_set(a[m]);
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) acc[v][m] = v_fma(bv[v], am, acc[v][m]);
    }
  }
  if (t.columns == NV * kLanes) {
    gemm_store<NV, MR, false>(t, acc);
  } else {
    gemm_store<NV, MR, true>(t, acc);
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

constexpr int kGemmVectors = 2;
constexpr int kGemmRows = kTileRows[kGemmVectors];

void gemm_tile(const GemmTile& t) {
  if (t.columns > kLanes) {
    gemm_rows_of<kGemmVectors, kGemmRows>(t);
  } else {
    gemm_rows_of<1, kGemmRows>(t);
  }
}

}  // namespace
