// SPDX-License-Identifier: MIT
// How products are cut into blocks and panels: shared by GEMM (gemm.cpp) and the symmetric product
// (syrk.cpp).
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

#include "backends/simd/cpu.hpp"
#include "backends/simd/gemm.hpp"
#include "backends/simd/kernels.hpp"
#include "backends/simd/parallel.hpp"

namespace isaribi::simd {

inline constexpr std::int64_t kLine = 16;  // elements of a cache line

/// How many vectors hold n elements. No division: three would take a tenth of a tile of short sums.
inline std::int64_t vectors_of(std::int64_t n, const Kernels& kernels) {
  const auto lanes = static_cast<std::uint64_t>(kernels.lanes);  // a power of two
  return (n + kernels.lanes - 1) >> std::countr_zero(lanes);
}

inline bool done(const LinesAhead& ahead) {
  return ahead.line >= ahead.lines;
}

/// Of lines `step` elements apart, how many half of L2 holds: those a power of two apart share
/// sets.
inline std::int64_t lines_held(std::int64_t step) {
  const std::int64_t bytes = step * 4, apart = bytes & -bytes;
  return caches().l2 / 2 / std::max<std::int64_t>(apart, kLine * 4);
}

/// How a product is cut. A function of its shape and of the machine, not of the threads.
struct Plan {
  std::int64_t width, height;   // of a panel of B, of a panel of A
  std::int64_t depth, columns;  // of a block, at most; the first depends on K only
  std::int64_t rows;            // of a block, at least, and less than twice as many
  bool pack_a, pack_b;          // the first always; gemm.cpp packs A that is `scattered`, too
  bool along_rows;              // tiles go along the rows of C, else along panels of B
};

/// Elements from one packed panel to the next: not a multiple of a page, whose lines would share
/// sets of the caches, and with room for what gemm_pack overwrites.
inline std::int64_t panel_a(const Plan& plan, std::int64_t depth) {
  return depth * plan.height + 16;
}
/// Of B per vector of a panel, so that panels of fewer vectors have a place, too.
inline std::int64_t vector_b(const Kernels& kernels, std::int64_t depth) {
  return depth * kernels.lanes + 16;
}

/// Whether panels of B are read where they lie as fast as packed: whole lines, in L2, of rows that
/// are not pages apart, which would share sets of the caches.
inline bool reads_well(const Product& p) {
  return p.b.column == 1 && p.b.run == 0 && p.b.row % kLine == 0 && p.b.row % kPage != 0 &&
         reinterpret_cast<std::uintptr_t>(p.b.data) % (kLine * 4) == 0 &&
         p.k * p.b.row * 4 <= caches().l2;
}

/// How many tiles over a panel of B do not repay its packing: many where it reads well, few where
/// its rows drive each other out of L2.
inline std::int64_t unpacked_tiles(const Product& p, std::int64_t depth) {
  if (reads_well(p)) return 24;
  const std::int64_t held = lines_held(p.b.row);
  return depth <= held ? 3 : depth <= 2 * held ? 2 : 1;
}

/// Rows of a tile over a panel of so many vectors.
inline std::int64_t tile_height(const Product& p, const Kernels& kernels, std::int64_t vectors) {
  return (p.a.row == 1 ? kernels.outer_rows : kernels.tile_rows)[vectors];
}

/// `depth`: of a block, at most. It decides where sums over K are cut and so the bits of C: the
/// same on every machine. Rows and columns follow the caches.
inline Plan plan_of(const Product& p, const Kernels& kernels, std::int64_t depth) {
  Plan plan{};
  const std::int64_t vectors =
      std::min<std::int64_t>(vectors_of(p.n, kernels), kernels.gemm_vectors);
  plan.width = vectors * kernels.lanes;
  plan.height = tile_height(p, kernels, vectors);
  const std::int64_t parts = std::max<std::int64_t>(1, (p.k + depth - 1) / depth);
  plan.depth = round_up((p.k + parts - 1) / parts, 8);
  // A sixth of L2 for a block of A: the rest is for panels of B and C, and whoever shares the core.
  const std::int64_t rows = caches().l2 * 5 / 32 / 4 / std::max<std::int64_t>(plan.depth, 1);
  plan.rows = std::max(rows, 4 * plan.height);
  const std::int64_t columns = caches().l3 / 2 / depth / 4;
  plan.columns = std::clamp<std::int64_t>(columns, 1024, 4096) / plan.width * plan.width;
  plan.pack_a = p.a.row == 1 && p.m * p.k * 4 > caches().l2 / 2;
  const std::int64_t few = unpacked_tiles(p, plan.depth) * plan.height;
  plan.pack_b = !p.b.packed && (p.b.column != 1 || p.b.run > 0 || p.m > few);
  // Of short sums it is C that takes the time: it is written from end to end while all of B stays
  // in L2.
  constexpr std::int64_t kShort = 64;
  plan.along_rows = p.k <= kShort && p.n > plan.width && (plan.pack_b || p.b.packed) &&
                    plan.depth * std::min(p.n, plan.columns) * 4 <= caches().l2 / 2;
  return plan;
}

inline bool worth_a_team(const Product& p) {
  return omp_get_max_threads() > 1 && p.m * p.n * p.k > 16 * kSerialBelow;
}

}  // namespace isaribi::simd
