// SPDX-License-Identifier: MIT
// The inner loop of GEMM and of the convolutions: NV vectors of columns by MR rows of C stay in
// registers; one vector of B feeds MR FMAs, one broadcast element of A feeds NV. Included by each
// ISA unit after its vec_*.hpp.
#pragma once

#include <stddef.h>

namespace {

/// acc[v][m] += sum_k a(m, k) b[k b_step + v] for rows FROM <= m < TO. ACROSS: a(m, k) =
/// a[k a_stride + m], neighbours along the rows of the tile, as packed; else a(m, k) =
/// a[m a_stride + k], neighbours along the sum. Memory from `ahead`, a cache line per step of k, is
/// brought to L2 meanwhile.
template <bool ACROSS, int FROM, int TO, int NV, int MR>
[[gnu::always_inline]] inline void multiply_add_rows(const float* a, ptrdiff_t a_stride,
                                                     const float* b, ptrdiff_t b_step,
                                                     ptrdiff_t depth, const float* ahead,
                                                     vf (&acc)[NV][MR]) {
  for (ptrdiff_t k = 0; k < depth; ++k, a += ACROSS ? a_stride : 1, b += b_step) {
    vf bv[NV];
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) bv[v] = v_load(b + v * kLanes);
    __builtin_prefetch(ahead + 16 * k, 0, 2);
#pragma GCC unroll 14
    for (int m = FROM; m < TO; ++m) {
      const vf am = v_set(a[ACROSS ? m : m * a_stride]);
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) acc[v][m] = v_fma(bv[v], am, acc[v][m]);
    }
  }
}

template <bool ACROSS, int NV, int MR>
[[gnu::always_inline]] inline void multiply_add(const float* a, ptrdiff_t a_stride, const float* b,
                                                ptrdiff_t b_step, ptrdiff_t depth,
                                                const float* ahead, vf (&acc)[NV][MR]) {
  multiply_add_rows<ACROSS, 0, MR>(a, a_stride, b, b_step, depth, ahead, acc);
}

template <int NV, int MR>
[[gnu::always_inline]] inline void clear(vf (&acc)[NV][MR]) {
#pragma GCC unroll 4
  for (int v = 0; v < NV; ++v) {
#pragma GCC unroll 14
    for (int m = 0; m < MR; ++m) acc[v][m] = v_zero();
  }
}

}  // namespace
