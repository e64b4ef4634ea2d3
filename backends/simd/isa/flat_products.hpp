// SPDX-License-Identifier: MIT
// The products of factor_flat.cpp: a long row times itself, shifted. Included by each ISA unit
// after its vec_*.hpp.
#pragma once

#include "backends/simd/kernels.hpp"

namespace {

using isaribi::simd::kMostFlatChannels;
using isaribi::simd::kMostFlatSums;

/// Vectors after which C channels begin at lane 0 again.
constexpr int flat_period(int channels) {
  int vectors = 1;
  while (vectors * kLanes % channels != 0) ++vectors;
  return vectors;
}

/// The same where the sums fit the registers, else 0. One channel has no neighbour.
constexpr int flat_vectors(int channels) {
  if (channels < 2 || channels > kLanes / 2) return 0;
  const int vectors = flat_period(channels), sums = vectors * channels;
  return sums <= kColumnAccumulators && sums <= kMostFlatSums ? vectors : 0;
}

/// acc[v][d] += x times what lies d, d + 1 .. C - 1 elements further; `from`: where x lies,
/// `after`: the next vector. Every second shift is loaded, which takes another unit than shifts in
/// registers and FMAs do.
template <int D, int C>
inline void flat_shifts(const float* from, vf x, vf after, vf (&acc)[C]) {
  acc[D] = v_fma(x, D % 2 == 1 ? v_load(from + D) : v_shift<D>(x, after), acc[D]);
  if constexpr (D + 1 < C) flat_shifts<D + 1, C>(from, x, after, acc);
}

template <int C>
void flat_products_of(const float* x, ptrdiff_t periods, float* sums) {
  constexpr int V = flat_vectors(C);
  vf acc[V][C];
#pragma GCC unroll 8
  for (int v = 0; v < V; ++v) {
#pragma GCC unroll 8
    for (int d = 0; d < C; ++d) acc[v][d] = v_zero();
  }
  for (ptrdiff_t p = 0; p < periods; ++p, x += V * kLanes) {
    vf at = v_load(x);
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) {
      const vf after = v_load(x + (v + 1) * kLanes);
      flat_shifts<0, C>(x + v * kLanes, at, after, acc[v]);
      at = after;
    }
  }
#pragma GCC unroll 8
  for (int v = 0; v < V; ++v) {
#pragma GCC unroll 8
    for (int d = 0; d < C; ++d) v_store(sums + (v * C + d) * kLanes, acc[v][d]);
  }
}

template <int C = kMostFlatChannels>
void flat_products(const float* x, int channels, ptrdiff_t periods, float* sums) {
  if constexpr (flat_vectors(C) > 0) {
    if (channels == C) return flat_products_of<C>(x, periods, sums);
  }
  if constexpr (C > 1) flat_products<C - 1>(x, channels, periods, sums);
}

}  // namespace
