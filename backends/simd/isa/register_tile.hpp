// SPDX-License-Identifier: MIT
// The inner loop of GEMM and of the convolutions: NV vectors of columns by MR rows of C stay in
// registers; one vector of B feeds MR FMAs, one broadcast element of A feeds NV. Included by each
// ISA unit after its vec_*.hpp.
#pragma once

#include "backends/simd/kernels.hpp"

namespace {

using isaribi::simd::kSteps;

/// acc[v][m] += a(m) b[v] for rows FROM <= m < TO, a(m) = a[m a_row]. Whichever there are fewer of,
/// vectors or rows, stay in registers: twelve sums leave AVX2 four.
template <int FROM, int TO, int NV, int MR>
[[gnu::always_inline]] inline void multiply_add_step(const float* a, ptrdiff_t a_row,
                                                     const float* b, vf (&acc)[NV][MR]) {
  if constexpr (NV <= MR) {
    vf bv[NV];
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) bv[v] = v_load(b + v * kLanes);
#pragma GCC unroll 16
    for (int m = FROM; m < TO; ++m) {
      const vf am = v_set(a[m * a_row]);
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) v_fma_to(acc[v][m], bv[v], am);
    }
  } else {
    vf am[MR];
#pragma GCC unroll 4
    for (int m = FROM; m < TO; ++m) am[m] = v_set(a[m * a_row]);
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) {
      const vf bv = v_load(b + v * kLanes);
#pragma GCC unroll 4
      for (int m = FROM; m < TO; ++m) v_fma_to(acc[v][m], bv, am[m]);
    }
  }
}

/// A distance known to the compiler, which then needs no instruction to go there.
template <ptrdiff_t N>
struct Fixed {};
template <ptrdiff_t N>
inline const float* next(const float* p, Fixed<N>) {
  return p + N;
}
/// The empty asm keeps the compiler from holding one pointer per step and vector, which it would
/// have to spill.
inline const float* next(const float* p, ptrdiff_t n) {
  p += n;
  asm("" : "+r"(p));
  return p;
}

/// acc[v][m] += sum_k a[k a_step + m a_row] b[k b_step + v] for rows FROM <= m < TO and as many
/// steps of k as `turns` of kSteps are. From `ahead`, `line` elements per turn are brought to L2
/// meanwhile. The pointers move on.
template <int FROM, int TO, class AStep, class BStep, int NV, int MR>
[[gnu::always_inline]] inline void multiply_add_turns(const float*& a, ptrdiff_t a_row,
                                                      AStep a_step, const float*& b, BStep b_step,
                                                      ptrdiff_t turns, const float*& ahead,
                                                      ptrdiff_t line, vf (&acc)[NV][MR]) {
  for (; turns > 0; --turns, ahead += line) {
    __builtin_prefetch(ahead, 0, 2);
#pragma GCC unroll 4
    for (int u = 0; u < kSteps; ++u) {
      multiply_add_step<FROM, TO>(a, a_row, b, acc);
      a = next(a, a_step);
      b = next(b, b_step);
      // With all sixteen registers in use the compiler would spill what it loads for later steps.
      if constexpr (kLanes == 8) asm volatile("" ::: "memory");
    }
  }
}

/// The same for any number of steps.
template <int FROM, int TO, class AStep, class BStep, int NV, int MR>
[[gnu::always_inline]] inline void multiply_add_rows(const float*& a, ptrdiff_t a_row, AStep a_step,
                                                     const float*& b, BStep b_step, ptrdiff_t depth,
                                                     const float*& ahead, ptrdiff_t line,
                                                     vf (&acc)[NV][MR]) {
  multiply_add_turns<FROM, TO>(a, a_row, a_step, b, b_step, depth / kSteps, ahead, line, acc);
  depth %= kSteps;
#pragma GCC unroll 1
  for (; depth > 0; --depth) {
    multiply_add_step<FROM, TO>(a, a_row, b, acc);
    a = next(a, a_step);
    b = next(b, b_step);
  }
}

template <int NV, int MR>
[[gnu::always_inline]] inline void clear(vf (&acc)[NV][MR]) {
#pragma GCC unroll 4
  for (int v = 0; v < NV; ++v) {
#pragma GCC unroll 16
    for (int m = 0; m < MR; ++m) acc[v][m] = v_zero();
  }
}

/// A vector of a row that may be shorter. PART: the last one is not full.
template <bool PART, int NV>
[[gnu::always_inline]] inline vf load_part(const float* row, int v, vmask last) {
  return PART && v == NV - 1 ? v_load(row + v * kLanes, last) : v_load(row + v * kLanes);
}

// What ends a tile is done one step after the other on all registers: a tile of a short sum would
// feel a branch per register.

template <bool PART, int NV, int MR>
[[gnu::always_inline]] inline void add_bias(const float* bias, vmask last, vf (&acc)[NV][MR]) {
#pragma GCC unroll 4
  for (int v = 0; v < NV; ++v) {
    const vf b = load_part<PART, NV>(bias, v, last);
#pragma GCC unroll 16
    for (int m = 0; m < MR; ++m) acc[v][m] = v_add(acc[v][m], b);
  }
}

template <int NV, int MR>
[[gnu::always_inline]] inline void relu_rows(vf (&acc)[NV][MR]) {
#pragma GCC unroll 16
  for (int m = 0; m < MR; ++m) {
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) acc[v][m] = v_relu(acc[v][m]);
  }
}

/// Rows `row` elements apart.
template <int NV, int MR>
[[gnu::always_inline]] inline void load_rows(const float* from, ptrdiff_t row, vf (&acc)[NV][MR]) {
#pragma GCC unroll 16
  for (int m = 0; m < MR; ++m) {
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) acc[v][m] = v_load(from + m * row + v * kLanes);
  }
}
/// PART: the last vector is not full.
template <bool PART, int NV, int MR>
[[gnu::always_inline]] inline void store_rows(float* to, ptrdiff_t row, vmask last,
                                              vf (&acc)[NV][MR]) {
#pragma GCC unroll 16
  for (int m = 0; m < MR; ++m) {
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) {
      float* p = to + m * row + v * kLanes;
      if (PART && v == NV - 1) {
        v_store(p, acc[v][m], last);
      } else {
        v_store(p, acc[v][m]);
      }
    }
  }
}

}  // namespace
