// SPDX-License-Identifier: MIT
// Blocks of the operands are packed for the caches and walked by register tiles (Goto and van de
// Geijn 2008; the loops of BLIS, Van Zee and van de Geijn, ACM TOMS 41, 2015): a block of B lives
// in L3, one of A and a panel of B in L2, a panel of A in L1. Operands too small to earn back their
// packing are read where they lie. Threads cut C into a grid and share nothing.
#include "backends/simd/gemm.hpp"

#include <algorithm>

#include "backends/simd/gemm_plan.hpp"
#include "backends/simd/parallel.hpp"

namespace isaribi::simd {
namespace {

constexpr std::int64_t kPanelsPerThread = 4;  // at least, for panels to be handed out

/// The rows and columns of C of one thread.
struct Region {
  Range rows, columns;
};

/// What a thread holds while it walks its region.
struct Block {
  Range rows, columns;
  std::int64_t k, depth;
  float* a;         // packed panels of A, or nullptr: A is read where it lies
  float* b;         // packed panels of B
  bool pack_b;      // b is yet to be filled
  bool one_panel;   // b holds one panel at a time
  Range next_rows;  // what is packed of A after this block
  std::int64_t next_k;
};

/// What is packed of A next.
LinesAhead next_of_a(const Product& p, const Plan& plan, const Block& block) {
  const std::int64_t rows = block.next_rows.end - block.next_rows.begin;
  const std::int64_t depth = std::min(plan.depth, p.k - block.next_k);
  if (!block.a || rows <= 0 || depth <= 0) return {};
  const float* from = p.a.data + block.next_rows.begin * p.a.row + block.next_k * p.a.column;
  if (p.a.row == 1) return {from, p.a.column, depth, (rows + kLine - 1) / kLine};
  return {from, p.a.row, rows, (depth + kLine - 1) / kLine};
}

/// Packs the panel of `count` columns of B from column j.
void pack_panel(const Product& p, const Kernels& kernels, const Plan& plan, const Block& block,
                std::int64_t j, std::int64_t count, float* to) {
  const std::int64_t end = block.k + block.depth, width = round_up(count, kernels.lanes);
  for (std::int64_t k = block.k, rows = 0; k < end; k += rows, to += rows * width) {
    const std::int64_t run = p.b.run > 0 ? p.b.run : p.k, first = k % run;
    rows = std::min(end - k, run - first);
    kernels.gemm_pack({p.b.data + k / run * p.b.run_step + first * p.b.row + j * p.b.column,
                       p.b.column, p.b.row, count, rows, width, panel_b(plan, block.depth), to});
  }
}

/// The panel of B at column j, where it lies, or packed: by the first tile over it, if that can be.
void panel_of_b(const Product& p, const Kernels& kernels, const Plan& plan, const Block& block,
                std::int64_t j, GemmTile& t) {
  const std::int64_t count = std::min(plan.width, block.columns.end - j);
  const float* from = p.b.data + block.k * p.b.row + j * p.b.column;
  t.b = from;
  t.b_step = p.b.row;
  t.pack_b = nullptr;
  if (!plan.pack_b && count % kernels.lanes == 0) return;
  float* to =
      block.b +
      (block.one_panel ? 0 : (j - block.columns.begin) / plan.width * panel_b(plan, block.depth));
  if (block.pack_b && p.b.column == 1 && p.b.run == 0 &&
      count == kernels.lanes * kernels.gemm_vectors &&
      block.rows.end - block.rows.begin >= plan.height) {
    t.pack_b = to;
    return;
  }
  t.b = to;
  t.b_step = round_up(count, kernels.lanes);
  if (block.pack_b || !plan.pack_b) pack_panel(p, kernels, plan, block, j, count, to);
}

/// What is read after the panel of B at column j: the next one, packed or as it lies; or the rows
/// of A that follow those of each tile, where A is read where it lies and has been read by no
/// panel; after the last panel, what is packed of A.
LinesAhead ahead_of(const Product& p, const Plan& plan, const Block& block, std::int64_t j) {
  const std::int64_t next = j + plan.width;
  if (!block.a && p.a.column == 1 && block.depth == p.a.row && j == block.columns.begin)
    return {p.a.data + (block.rows.begin + plan.height) * p.a.row, kLine,
            (block.rows.end - block.rows.begin) * p.a.row / kLine, 1};
  if (next >= block.columns.end) return next_of_a(p, plan, block);
  const bool packed = plan.pack_b && !block.pack_b && !block.one_panel;
  if (packed)
    return {block.b + (next - block.columns.begin) / plan.width * panel_b(plan, block.depth), kLine,
            block.depth * plan.width / kLine, 1};
  if (p.b.run > 0) return {};
  const float* from = p.b.data + block.k * p.b.row + next * p.b.column;
  if (p.b.column == 1) return {from, p.b.row, block.depth, (plan.width + kLine - 1) / kLine};
  return {from, p.b.column, plan.width, (block.depth + kLine - 1) / kLine};
}

void multiply_block(const Product& p, const Kernels& kernels, const Plan& plan,
                    const Block& block) {
  GemmTile t{};
  t.k = block.depth;
  t.c_row = p.c_row;
  t.alpha = p.alpha;
  t.beta = block.k == 0 ? p.beta : 1.0f;
  const bool last = block.k + block.depth == p.k;
  t.relu = last && p.relu;
  for (std::int64_t j = block.columns.begin; j < block.columns.end; j += plan.width) {
    panel_of_b(p, kernels, plan, block, j, t);
    LinesAhead ahead = ahead_of(p, plan, block, j);
    t.bias = last && p.bias ? p.bias + j : nullptr;
    t.columns = static_cast<int>(std::min(plan.width, block.columns.end - j));
    for (std::int64_t i = block.rows.begin; i < block.rows.end; i += plan.height) {
      const std::int64_t end = std::min(i + plan.height, block.rows.end);
      t.a = block.a ? block.a + (i - block.rows.begin) / plan.height * panel_a(plan, block.depth)
                    : p.a.data + i * p.a.row + block.k * p.a.column;
      t.a_row = block.a ? 1 : p.a.row;
      t.a_step = block.a ? plan.height : p.a.column;
      t.c = p.c + i * p.c_row + j;
      t.next_c = end < block.rows.end ? t.c + plan.height * p.c_row
                                      : p.c + block.rows.begin * p.c_row + j + plan.width;
      t.rows = static_cast<int>(end - i);
      ahead.take(kernels, t);
      kernels.gemm_tile(t);
      if (t.pack_b) {
        t.b = t.pack_b;
        t.b_step = plan.width;
        t.pack_b = nullptr;
      }
    }
  }
}

void pack_a(const Product& p, const Kernels& kernels, const Plan& plan, const Block& block) {
  kernels.gemm_pack({p.a.data + block.rows.begin * p.a.row + block.k * p.a.column, p.a.row,
                     p.a.column, block.rows.end - block.rows.begin, block.depth, plan.height,
                     panel_a(plan, block.depth), block.a});
}

void multiply_region(const Product& p, const Kernels& kernels, const Plan& plan, Scratch& scratch,
                     const Region& region) {
  const int thread = omp_get_thread_num();
  const std::int64_t rows = region.rows.end - region.rows.begin,
                     columns = region.columns.end - region.columns.begin;
  if (rows <= 0 || columns <= 0) return;
  Block block{};
  block.one_panel = rows <= plan.rows;
  const std::int64_t parts = (rows + plan.rows - 1) / plan.rows;  // blocks of nearly equal height
  const std::int64_t part = round_up((rows + parts - 1) / parts, plan.height);
  const std::int64_t held = block.one_panel ? plan.width : std::min(columns, plan.columns);
  const std::int64_t tall = round_up(std::min(rows, plan.rows), plan.height) / plan.height;
  if (plan.pack_a)
    block.a = scratch.get<float>(Use::strip, tall * panel_a(plan, plan.depth), thread);
  block.b = scratch.get<float>(
      Use::weights, round_up(held, plan.width) / plan.width * panel_b(plan, plan.depth), thread);
  for (std::int64_t jc = region.columns.begin; jc < region.columns.end; jc += plan.columns) {
    block.columns = {jc, std::min(jc + plan.columns, region.columns.end)};
    block.k = 0;
    do {  // once for an empty sum, too
      block.depth = std::min(plan.depth, p.k - block.k);
      block.pack_b = plan.pack_b;
      for (std::int64_t ic = region.rows.begin; ic < region.rows.end; ic += part) {
        block.rows = {ic, std::min(ic + part, region.rows.end)};
        const bool more = block.rows.end < region.rows.end;
        const std::int64_t next = more ? block.rows.end : region.rows.begin;
        block.next_rows = {next, std::min(next + part, region.rows.end)};
        block.next_k = more ? block.k : block.k + plan.depth;
        if (block.a) pack_a(p, kernels, plan, block);
        multiply_block(p, kernels, plan, block);
        block.pack_b = false;
      }
      block.k += plan.depth;
    } while (block.k < p.k);
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

}  // namespace

void multiply(const Product& p, Context& context) {
  const Kernels& kernels = context.kernels();
  Scratch& scratch = context.ready();
  const Plan plan = plan_of(p, kernels);
  if (!worth_a_team(p)) {
    multiply_region(p, kernels, plan, scratch, {{0, p.m}, {0, p.n}});
    return;
  }
  const std::int64_t panels = (p.n + plan.width - 1) / plan.width;
  if (!plan.pack_a && p.m <= plan.rows && panels >= kPanelsPerThread * omp_get_max_threads()) {
    parallel_shares(panels, p.m * p.n * p.k, 1, [&](Range r) {
      multiply_region(p, kernels, plan, scratch,
                      {{0, p.m}, {r.begin * plan.width, std::min(p.n, r.end * plan.width)}});
    });
    return;
  }
#pragma omp parallel
  {
    const int team = omp_get_num_threads(), thread = omp_get_thread_num();
    const int rows = grid_rows(p, team), columns = team / rows;
    multiply_region(p, kernels, plan, scratch,
                    {share(p.m, thread / columns, rows, plan.height),
                     share(p.n, thread % columns, columns, plan.width)});
  }
}

void multiply_share(const Product& p, Context& context, int part, int parts) {
  const Plan plan = plan_of(p, context.kernels());
  multiply_region(p, context.kernels(), plan, context.scratch,
                  {share(p.m, part, parts, plan.height), {0, p.n}});
}

}  // namespace isaribi::simd
