// SPDX-License-Identifier: MIT
// What the units of one instruction set can do at most: multiply-adds in registers, loads and
// stores. Included by each ISA unit after its vec_*.hpp.
#pragma once

#include "backends/simd/peaks.hpp"

namespace {

/// `rounds` rounds of kChains independent v = step(v). Two per cycle hide a latency of 6 with 12
/// chains; the empty asm keeps every chain, in a register, and the compiler from merging rounds.
template <int kChains, class V, class Step>
inline void run_chains(ptrdiff_t rounds, V start, const Step& step) {
  V chain[kChains];
#pragma GCC unroll 24
  for (int i = 0; i < kChains; ++i) chain[i] = start;
  for (ptrdiff_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 24
    for (int i = 0; i < kChains; ++i) {
      chain[i] = step(chain[i]);
      asm volatile("" : "+v"(chain[i]));
    }
  }
}

constexpr int kFmaChains = 12;

inline double f32_fma_chain(ptrdiff_t rounds) {
  const vf half = v_set(0.5f);
  run_chains<kFmaChains>(rounds, half, [&](vf a) { return v_fma(a, half, half); });
  return 2.0 * kFmaChains * kLanes * static_cast<double>(rounds);
}

inline double f64_fma_chain(ptrdiff_t rounds) {
  const vd zero = d_zero();
  run_chains<kFmaChains>(rounds, zero, [&](vd a) { return d_fma(a, zero, zero); });
  return 2.0 * kFmaChains * kDoubles * static_cast<double>(rounds);
}

constexpr int kUnroll = 8;  // vectors

inline void read_stream(const float* x, ptrdiff_t n) {
  for (ptrdiff_t i = 0; i < n; i += kUnroll * kLanes) {
#pragma GCC unroll 8
    for (int u = 0; u < kUnroll; ++u) {
      const vf a = v_load(x + i + u * kLanes);
      asm volatile("" : : "v"(a));  // loaded, and not used
    }
  }
}

inline void update_stream(float* y, const float* x, ptrdiff_t n) {
  const vf s = v_set(0.0f);  // the numbers stay what they are
  for (ptrdiff_t i = 0; i < n; i += kUnroll * kLanes) {
#pragma GCC unroll 8
    for (int u = 0; u < kUnroll; ++u) {
      const ptrdiff_t at = i + u * kLanes;
      v_store(y + at, v_fma(s, v_load(x + at), v_load(y + at)));
    }
  }
}

constexpr isaribi::simd::PeakLoops peak_loops() {
  return {f32_fma_chain, f64_fma_chain, read_stream, update_stream};
}

}  // namespace
