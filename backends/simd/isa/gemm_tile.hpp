// SPDX-License-Identifier: MIT
// The register tile of GEMM over a panel of B and rows of A, packed or where they lie (Goto and van
// de Geijn, "Anatomy of high-performance matrix multiplication", ACM TOMS 34, 2008). Included by
// each ISA unit after its vec_*.hpp.
#pragma once

#include "backends/simd/isa/register_tile.hpp"
#include "backends/simd/kernels.hpp"

namespace {

using isaribi::simd::GemmTile;
using isaribi::simd::kPage;
using isaribi::simd::LinesAhead;

/// c = act(alpha acc + beta c + bias); beta = 0 does not read c.
template <bool PART, int NV, int MR>
[[gnu::always_inline]] inline void gemm_store(const GemmTile& t, vf (&acc)[NV][MR]) {
  const vmask last = v_first(t.columns - (NV - 1) * kLanes);
  if (t.alpha != 1.0f) {
    const vf alpha = v_set(t.alpha);
#pragma GCC unroll 16
    for (int m = 0; m < MR; ++m) {
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) acc[v][m] = v_mul(alpha, acc[v][m]);
    }
  }
  if (t.beta != 0.0f) {
    const vf beta = v_set(t.beta);
#pragma GCC unroll 16
    for (int m = 0; m < MR; ++m) {
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v)
        acc[v][m] = v_fma(beta, load_part<PART, NV>(t.c + m * t.c_row, v, last), acc[v][m]);
    }
  }
  if (t.bias) add_bias<PART>(t.bias, last, acc);
  if (t.relu) relu_rows(acc);
  store_rows<PART>(t.c, t.c_row, last, acc);
}

/// Where the next `count` lines are fetched from, or nullptr.
inline const float* lines_ahead(LinesAhead* ahead, ptrdiff_t count) {
  if (!ahead || ahead->line >= ahead->lines) return nullptr;
  const float* from = ahead->from + ahead->at * ahead->row + ahead->line * 16;
  ahead->at += count;
  if (ahead->at >= ahead->rows) {
    ahead->at = 0;
    ++ahead->line;
  }
  return from;
}

/// Brings `rows` rows of the C and the A that come soon to L1.
template <int NV>
[[gnu::always_inline]] inline void fetch_rows(const GemmTile& t, int rows, ptrdiff_t a_row,
                                              const float*& c, const float*& a) {
  for (int r = 0; r < rows; ++r, c += t.c_row) {
    for (int v = 0; v < NV * kLanes; v += 16) __builtin_prefetch(c + v, 1);
  }
  if (!a) return;
  for (int r = 0; r < rows; ++r, a += a_row) {
    for (ptrdiff_t k = 0; k < t.k; k += 16) __builtin_prefetch(a + k);
  }
}

/// Turns of the sum over k, while t.ahead comes to L2.
template <class AStep, class BStep, int NV, int MR>
[[gnu::always_inline]] inline void gemm_turns(const GemmTile& t, const float*& a, ptrdiff_t a_row,
                                              AStep a_step, const float*& b, BStep b_step,
                                              ptrdiff_t turns, vf (&acc)[NV][MR]) {
  const float* ahead = lines_ahead(t.ahead, turns);
  const ptrdiff_t line = ahead ? t.ahead->row : 0;
  if (!ahead) ahead = b;
  multiply_add_turns<0, MR>(a, a_row, a_step, b, b_step, turns, ahead, line, acc);
}

/// The sum over k, cut into a piece per row: each piece brings a row of the next tile's C to L1,
/// since all rows at once would take the buffers that the loads of B need.
template <class AStep, class BStep, int NV, int MR>
[[gnu::always_inline]] inline void gemm_multiply(const GemmTile& t, ptrdiff_t a_row, AStep a_step,
                                                 BStep b_step, vf (&acc)[NV][MR]) {
  const float *a = t.a, *b = t.b, *c = t.next_c, *soon = t.next_a;
  ptrdiff_t turns = t.k / kSteps;
  if (c && turns >= MR) {
    const ptrdiff_t piece = turns / MR;
#pragma GCC unroll 1
    for (int row = 0; row < MR; ++row) {
      fetch_rows<NV>(t, 1, a_row, c, soon);
      gemm_turns(t, a, a_row, a_step, b, b_step, piece, acc);
    }
    turns -= MR * piece;
  } else if (c) {
    fetch_rows<NV>(t, MR, a_row, c, soon);
  }
  gemm_turns(t, a, a_row, a_step, b, b_step, turns, acc);
  const float* none = b;
  multiply_add_rows<0, MR>(a, a_row, a_step, b, b_step, t.k % kSteps, none, 0, acc);
}

/// to (+)= a row of what a block gave. By way of L1: what is loaded needs no instruction to be cut
/// in halves, which f64 has room for.
template <bool ADD, int NV>
[[gnu::always_inline]] inline void gemm_add_row(const float* from, double* to) {
#pragma GCC unroll 8
  for (int i = 0; i < NV * kLanes; i += kDoubles) {
    const vd d = d_from_floats(from + i);
    d_store(to + i, ADD ? d_add(d_load(to + i), d) : d);
  }
}

/// gemm_sums of one height and width. What a block gave is added while the next one is multiplied:
/// by itself, after 32 steps of k, it would take a third as long as they do.
template <int NV, int MR>
void gemm_sums_rows(const GemmTile& t) {
  constexpr int kRows = MR > 8 ? 2 : 1;  // added per kSteps
  alignas(64) float given[MR][NV * kLanes];
  const float *a = t.a, *b = t.b;
  bool add = t.beta != 0.0f;
  int row = MR;  // the next one that is added
  const auto add_row = [&] {
    double* to = t.sums + row * t.sums_row;
    add ? gemm_add_row<true, NV>(given[row], to) : gemm_add_row<false, NV>(given[row], to);
    ++row;
  };
  for (ptrdiff_t k = 0; k < t.k; k += t.block) {
    ptrdiff_t depth = t.k - k < t.block ? t.k - k : t.block;
    const float* ahead = lines_ahead(t.ahead, depth / kSteps);
    const ptrdiff_t line = ahead ? t.ahead->row : 0;
    if (!ahead) ahead = b;
    vf acc[NV][MR];
    clear(acc);
    for (; depth >= kSteps; depth -= kSteps) {
      multiply_add_rows<0, MR>(a, 1, t.a_step, b, t.b_step, kSteps, ahead, line, acc);
      for (int r = 0; r < kRows && row < MR; ++r) add_row();
    }
    multiply_add_rows<0, MR>(a, 1, t.a_step, b, t.b_step, depth, ahead, line, acc);
    while (row < MR) add_row();
    add = add || k > 0;
    store_rows<false>(given[0], NV * kLanes, v_first(kLanes), acc);
    row = 0;
  }
  while (row < MR) add_row();
}

template <int NV, int MR>
void gemm_rows(const GemmTile& t) {
  vf acc[NV][MR];
  if (t.from_part) {
    load_rows(t.from_part, NV * kLanes, acc);
  } else {
    clear(acc);
  }
  if (t.a_row != 1) {
    gemm_multiply(t, t.a_row, Fixed<1>{}, t.b_step, acc);
  } else {
    gemm_multiply(t, 1, t.a_step, t.b_step, acc);
  }
  if (t.to_part) return store_rows<false>(t.to_part, NV * kLanes, v_first(kLanes), acc);
  if (t.columns == NV * kLanes) {
    gemm_store<false>(t, acc);
  } else {
    gemm_store<true>(t, acc);
  }
}

constexpr ptrdiff_t kFetch = 24;  // rows of B ahead

/// The first tile of a panel of B lays down what it loads for those after it. CACHE: where rows
/// ahead are brought to.
template <int CACHE, int NV, int MR>
void gemm_packing_rows(const GemmTile& t) {
  vf acc[NV][MR];
  clear(acc);
  const float *a = t.a, *b = t.b;
  float* to = t.pack_b;
  for (ptrdiff_t k = 0; k < t.k; ++k, a += t.a_step, b += t.b_step, to += NV * kLanes) {
    multiply_add_step<0, MR>(a, t.a_row, b, acc);
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) {
      v_store(to + v * kLanes, v_load(b + v * kLanes));
      __builtin_prefetch(b + kFetch * t.b_step + v * kLanes, 0, CACHE);
    }
  }
  gemm_store<false>(t, acc);
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
  if (t.pack_b) {
    constexpr int kToL1 = 3, kToL2 = 2, kMost = kTileRows[kGemmVectors];
    // Rows pages apart share sets of L1, which would not hold as many.
    return t.b_step % kPage == 0 ? gemm_packing_rows<kToL2, kGemmVectors, kMost>(t)
                                 : gemm_packing_rows<kToL1, kGemmVectors, kMost>(t);
  }
  switch ((t.columns + kLanes - 1) / kLanes) {
    case 1:
      return gemm_rows_of<1, kOuterRows[1]>(t);
    case 2:
      return gemm_rows_of<2, kOuterRows[2]>(t);
    case 3:
      return gemm_rows_of<3, kOuterRows[3]>(t);
    default:
      return gemm_rows_of<4, kOuterRows[4]>(t);
  }
}

template <int NV, int MR>
inline void gemm_sums_of(const GemmTile& t) {
  if (t.rows == MR) {
    gemm_sums_rows<NV, MR>(t);
  } else if constexpr (MR > 1) {
    gemm_sums_of<NV, MR - 1>(t);
  }
}

void gemm_sums(const GemmTile& t) {
  switch ((t.columns + kLanes - 1) / kLanes) {
    case 1:
      return gemm_sums_of<1, kOuterRows[1]>(t);
    case 2:
      return gemm_sums_of<2, kOuterRows[2]>(t);
    case 3:
      return gemm_sums_of<3, kOuterRows[3]>(t);
    default:
      return gemm_sums_of<4, kOuterRows[4]>(t);
  }
}

}  // namespace
