// SPDX-License-Identifier: MIT
// Blocks of the operands are packed for the caches and walked by register tiles (Goto and van de
// Geijn 2008; the loops of BLIS, Van Zee and van de Geijn, ACM TOMS 41, 2015): a block of B lives
// in L3, one of A in L2, a panel of B in L1. Threads cut C into a grid and share nothing.
#include "backends/simd/gemm.hpp"

#include <emmintrin.h>
#include <xmmintrin.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "backends/simd/parallel.hpp"

namespace isaribi::simd {
namespace {

// In elements: a panel of B (kDepth x 32) fills half of an L1 of 64 KiB or streams through one of
// 32 KiB beside the panel of A; kRows x kDepth is 0.5 MiB of L2; kDepth x kColumns 3 MiB of L3.
constexpr std::int64_t kDepth = 384, kRows = 336, kColumns = 2048;

/// A region of C: rows and columns of one thread.
struct Region {
  Range rows, columns;
  bool lower;  ///< only tiles that touch the lower triangle
};

std::int64_t round_up(std::int64_t n, std::int64_t to) {
  return (n + to - 1) / to * to;
}

/// to[k][i] for i < count, k < depth, from lines that are contiguous along k (`stride` between
/// them): transposed in squares of four.
void pack_across(const float* from, std::int64_t stride, std::int64_t count, std::int64_t depth,
                 std::int64_t width, float* to) {
  std::int64_t i = 0;
  for (; i + 4 <= count; i += 4) {
    const float* line = from + i * stride;
    float* out = to + i;
    std::int64_t k = 0;
    for (; k + 4 <= depth; k += 4, out += 4 * width) {
      __m128 r0 = _mm_loadu_ps(line + k), r1 = _mm_loadu_ps(line + stride + k),
             r2 = _mm_loadu_ps(line + 2 * stride + k), r3 = _mm_loadu_ps(line + 3 * stride + k);
      _MM_TRANSPOSE4_PS(r0, r1, r2, r3);
      _mm_storeu_ps(out, r0);
      _mm_storeu_ps(out + width, r1);
      _mm_storeu_ps(out + 2 * width, r2);
      _mm_storeu_ps(out + 3 * width, r3);
    }
    for (; k < depth; ++k, out += width) {
      for (std::int64_t j = 0; j < 4; ++j) out[j] = line[j * stride + k];
    }
  }
  for (; i < count; ++i) {
    for (std::int64_t k = 0; k < depth; ++k) to[k * width + i] = from[i * stride + k];
  }
}

/// to[k][i] for i < count, k < depth, from lines that are contiguous along i. FULL: count and width
/// are known to the compiler, which copies in registers.
template <int FULL>
void pack_along(const float* from, std::int64_t stride, std::int64_t count, std::int64_t depth,
                std::int64_t width, float* to) {
  const std::size_t bytes = static_cast<std::size_t>(FULL > 0 ? FULL : count) * sizeof(float);
  for (std::int64_t k = 0; k<depth; ++k, from += stride, to += FULL> 0 ? FULL : width)
    std::memcpy(to, from, bytes);
}

using PackAlong = void (*)(const float*, std::int64_t, std::int64_t, std::int64_t, std::int64_t,
                           float*);
/// For full panels of the heights and widths of our tiles.
PackAlong pack_along_full(std::int64_t width) {
  switch (width) {
    case 6:
      return pack_along<6>;
    case 14:
      return pack_along<14>;
    case 16:
      return pack_along<16>;
    case 32:
      return pack_along<32>;
    default:
      return pack_along<0>;
  }
}

/// Panels of `width` of `count` lines, each [depth][width], zero where a panel is not full.
/// `across` is the stride from line to line, `along` the stride over the depth.
void pack(const float* from, std::int64_t across, std::int64_t along, std::int64_t count,
          std::int64_t depth, std::int64_t width, float* to) {
  const PackAlong full = pack_along_full(width);
  for (std::int64_t i = 0; i < count; i += width, to += width * depth) {
    const std::int64_t valid = std::min(width, count - i);
    if (valid < width) std::fill(to, to + width * depth, 0.0f);
    const float* lines = from + i * across;
    if (across == 1) {
      (valid == width ? full : pack_along<0>)(lines, along, valid, depth, width, to);
    } else {
      pack_across(lines, across, valid, depth, width, to);
    }
  }
}

/// Rows [i, i + rows) x columns [j, j + columns) of C from packed blocks of A and B.
void multiply_block(const Product& p, const Kernels& kernels, const Region& region, Range rows,
                    Range columns, std::int64_t depth, const float* a, const float* b, float beta) {
  const std::int64_t height = kernels.gemm_rows, width = kernels.gemm_columns;
  for (std::int64_t j = columns.begin; j < columns.end; j += width) {
    const float* panel = b + (j - columns.begin) * depth;
    for (std::int64_t i = rows.begin; i < rows.end; i += height) {
      const std::int64_t last = std::min(i + height, rows.end);
      if (region.lower && j >= last) continue;  // above the diagonal
      GemmTile t{};
      t.a = a + (i - rows.begin) * depth;
      t.a_step = height;
      t.b = panel;
      t.b_step = width;
      t.k = depth;
      t.c = p.c + i * p.c_row + j;
      t.c_row = p.c_row;
      t.rows = static_cast<int>(last - i);
      const std::int64_t end = region.lower ? std::min(columns.end, last) : columns.end;
      t.columns = static_cast<int>(std::min(width, end - j));
      t.alpha = p.alpha;
      t.beta = beta;
      kernels.gemm_tile(t);
    }
  }
}

void multiply_region(const Product& p, const Kernels& kernels, Scratch& scratch,
                     const Region& region) {
  const int thread = omp_get_thread_num();
  const std::int64_t height = kernels.gemm_rows, width = kernels.gemm_columns;
  const std::int64_t rows = region.rows.end - region.rows.begin,
                     columns = region.columns.end - region.columns.begin;
  if (rows <= 0 || columns <= 0) return;
  const std::int64_t deepest = std::min(kDepth, p.k);
  float* a = scratch.get<float>(
      Use::strip, round_up(std::min(rows, round_up(kRows, height)), height) * deepest, thread);
  float* b = scratch.get<float>(Use::weights,
                                round_up(std::min(columns, kColumns), width) * deepest, thread);
  const std::int64_t block = kRows / height * height;
  for (std::int64_t jc = region.columns.begin; jc < region.columns.end; jc += kColumns) {
    const Range cols{jc, std::min(jc + kColumns, region.columns.end)};
    for (std::int64_t k = 0; k < p.k; k += kDepth) {
      const std::int64_t depth = std::min(kDepth, p.k - k);
      pack(p.b.data + k * p.b.row + jc * p.b.column, p.b.column, p.b.row, cols.end - jc, depth,
           width, b);
      for (std::int64_t ic = region.rows.begin; ic < region.rows.end; ic += block) {
        const Range part{ic, std::min(ic + block, region.rows.end)};
        if (region.lower && cols.begin >= part.end) continue;
        pack(p.a.data + ic * p.a.row + k * p.a.column, p.a.row, p.a.column, part.end - ic, depth,
             height, a);
        multiply_block(p, kernels, region, part, cols, depth, a, b, k == 0 ? p.beta : 1.0f);
      }
    }
  }
}

/// Rows of the thread grid: the divisor of `threads` that packs least, rows of A plus columns of B.
int grid_rows(const Product& p, int threads) {
  int best = threads;
  double least = 1e300;
  for (int r = 1; r <= threads; ++r) {
    if (threads % r != 0) continue;
    const double cost = static_cast<double>(p.m) / r + static_cast<double>(p.n) / (threads / r);
    if (cost < least) {
      least = cost;
      best = r;
    }
  }
  return best;
}

bool worth_a_team(const Product& p) {
  return omp_get_max_threads() > 1 && p.m * p.n * p.k > 16 * kSerialBelow;
}

/// C's upper triangle from its lower one, rows [begin, end) of the upper one, in squares.
void mirror(const Product& p, Range r) {
  constexpr std::int64_t kSquare = 32;
  for (std::int64_t i = r.begin; i < r.end; i += kSquare) {
    for (std::int64_t j = i; j < p.n; j += kSquare) {
      for (std::int64_t y = i; y < std::min(i + kSquare, r.end); ++y) {
        for (std::int64_t x = std::max(j, y + 1); x < std::min(j + kSquare, p.n); ++x)
          p.c[y * p.c_row + x] = p.c[x * p.c_row + y];
      }
    }
  }
}

}  // namespace

void multiply(const Product& p, Context& context) {
  const Kernels& kernels = context.kernels();
  Scratch& scratch = context.ready();
  if (!worth_a_team(p)) {
    multiply_region(p, kernels, scratch, {{0, p.m}, {0, p.n}, false});
    return;
  }
#pragma omp parallel
  {
    const int team = omp_get_num_threads(), thread = omp_get_thread_num();
    const int rows = grid_rows(p, team), columns = team / rows;
    multiply_region(p, kernels, scratch,
                    {share(p.m, thread / columns, rows, kernels.gemm_rows),
                     share(p.n, thread % columns, columns, kernels.gemm_columns), false});
  }
}

void multiply_symmetric(const Product& p, Context& context) {
  const Kernels& kernels = context.kernels();
  Scratch& scratch = context.ready();
#pragma omp parallel if (worth_a_team(p))
  {
    const int team = omp_get_num_threads(), thread = omp_get_thread_num();
    // Equal areas of the triangle: rows up to n sqrt(t / team).
    const auto cut = [&](int t) {
      const double at = static_cast<double>(p.n) * std::sqrt(static_cast<double>(t) / team);
      return t == team ? p.n : std::min(p.n, round_up(std::llround(at), kernels.gemm_rows));
    };
    const Range rows{cut(thread), cut(thread + 1)};
    multiply_region(p, kernels, scratch, {rows, {0, rows.end}, true});
#pragma omp barrier
    mirror(p, share(p.n, thread, team, 32));
  }
}

}  // namespace isaribi::simd
