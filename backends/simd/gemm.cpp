// SPDX-License-Identifier: MIT
// Blocks of the operands are packed for the caches and walked by register tiles (Goto and van de
// Geijn 2008; the loops of BLIS, Van Zee and van de Geijn, ACM TOMS 41, 2015): a block of B lives
// in L3, one of A and a panel of B in L2, a panel of A in L1. Operands too small to earn back their
// packing are read where they lie; of short sums tiles go along the rows of C, and few rows meet a
// transposed B piece by piece. Threads cut C into a grid and share nothing.
#include "backends/simd/gemm.hpp"

#include <algorithm>

#include "backends/simd/gemm_plan.hpp"
#include "backends/simd/gemm_turned.hpp"
#include "backends/simd/parallel.hpp"

namespace isaribi::simd {
namespace {

constexpr std::int64_t kPanelsPerThread = 4;  // at least, for panels to be handed out
constexpr std::int64_t kShortSum = 256;       // A is read faster than fetched by steps of k
constexpr std::int64_t kTilesAhead = 4;       // fetched then
constexpr std::int64_t kFewPanels = 16;       // per thread: too few to be whole

/// Whether a block of `rows` rows of A is packed although they are contiguous: they lie so far
/// apart that L2 would not hold them, and so many columns of C read them that it is repaid.
bool scattered(const Product& p, std::int64_t rows, std::int64_t columns) {
  constexpr std::int64_t kRepaysPacking = 2048;
  return columns >= kRepaysPacking && rows > 2 * lines_held(p.a.row);
}

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

/// A panel of B: columns [j, j + count) of C, `count` at most plan.width.
struct Panel {
  std::int64_t j, count, width;  // width: count, up to whole vectors
  float* packed;                 // its place in Block::b
};

/// What tiles fetch, in turn: the next panel of B, the place it is packed to, its columns of C,
/// what is read of A, what is read after the product.
struct Fetches {
  LinesAhead panel{}, place{}, c{}, rows{}, after{};

  LinesAhead* next() {
    return !done(panel)   ? &panel
           : !done(place) ? &place
           : !done(c)     ? &c
           : !done(rows)  ? &rows
                          : &after;
  }
};

/// The panel at column j. What is left of two panels is cut in the middle, since a panel of few
/// vectors is as slow as one of twice as many.
Panel panel_at(const Kernels& kernels, const Plan& plan, const Block& block, std::int64_t j) {
  const std::int64_t left = block.columns.end - j;
  Panel panel{j, std::min(plan.width, left), 0, nullptr};
  if (left > plan.width && left < 2 * plan.width)
    panel.count = (vectors_of(left, kernels) + 1) / 2 * kernels.lanes;
  panel.width = vectors_of(panel.count, kernels) * kernels.lanes;
  panel.packed = block.b;
  if (!block.one_panel)
    panel.packed += vectors_of(j - block.columns.begin, kernels) * vector_b(kernels, block.depth);
  return panel;
}

/// What is read of A next.
LinesAhead next_of_a(const Product& p, const Plan& plan, const Block& block) {
  const std::int64_t rows = block.next_rows.end - block.next_rows.begin;
  const std::int64_t depth = std::min(plan.depth, p.k - block.next_k);
  if (rows <= 0 || depth <= 0) return {};
  const float* from = p.a.data + block.next_rows.begin * p.a.row + block.next_k * p.a.column;
  if (p.a.column == 1) return {from, p.a.row, rows, (depth + kLine - 1) / kLine};
  return {from, p.a.column, depth, (rows + kLine - 1) / kLine};
}

/// Packs a panel of B.
void pack_panel(const Product& p, const Kernels& kernels, const Block& block, const Panel& panel) {
  const std::int64_t end = block.k + block.depth;
  float* to = panel.packed;
  for (std::int64_t k = block.k, rows = 0; k < end; k += rows, to += rows * panel.width) {
    const std::int64_t run = p.b.run > 0 ? p.b.run : p.k, first = k % run;
    rows = std::min(end - k, run - first);
    kernels.gemm_pack({p.b.data + k / run * p.b.run_step + first * p.b.row + panel.j * p.b.column,
                       p.b.column, p.b.row, panel.count, rows, panel.width,
                       block.depth * panel.width + 8, to});
  }
}

/// A panel of a B that is packed already.
const float* packed_panel(const Product& p, const Block& block, const Panel& panel) {
  return p.b.data + panel.j * p.k + block.k * panel.width;
}

/// The panel of B where it lies, or packed: by the first tile over it, if that can be.
void panel_of_b(const Product& p, const Kernels& kernels, const Plan& plan, const Block& block,
                const Panel& panel, GemmTile& t) {
  t.pack_b = nullptr;
  if (p.b.packed) {
    t.b = packed_panel(p, block, panel);
    t.b_step = panel.width;
    return;
  }
  t.b = p.b.data + block.k * p.b.row + panel.j * p.b.column;
  t.b_step = p.b.row;
  if (!plan.pack_b && panel.count == panel.width) return;
  if (block.pack_b && p.b.column == 1 && p.b.run == 0 &&
      panel.count == kernels.lanes * kernels.gemm_vectors &&
      block.rows.end - block.rows.begin >= plan.height) {
    t.pack_b = panel.packed;
    return;
  }
  t.b = panel.packed;
  t.b_step = panel.width;
  if (block.pack_b || !plan.pack_b) pack_panel(p, kernels, block, panel);
}

/// Whether tiles fetch the A that they read soon: one panel reads all of it once, in short rows.
bool streams(const Product& p, const Plan& plan, const Block& block) {
  return !block.a && p.a.column == 1 && p.n <= plan.width && p.k <= kShortSum;
}

/// What is read after a panel of B: the next one, packed or as it lies and then its place; and what
/// is read of A, once the last panels are reached, of few columns from the first one on.
void fetch_after(const Product& p, const Kernels& kernels, const Plan& plan, const Block& block,
                 const Panel& panel, Fetches& fetches) {
  constexpr std::int64_t kLastPanels = 3;
  const std::int64_t next = panel.j + panel.count, left = block.columns.end - next;
  fetches.panel = fetches.place = fetches.c = {};
  const bool first = panel.j == block.columns.begin && !streams(p, plan, block);
  if (left < kLastPanels * plan.width && done(fetches.rows) &&
      (first || left + plan.width >= kLastPanels * plan.width))
    fetches.rows = next_of_a(p, plan, block);
  if (left <= 0) return;
  const Panel after = panel_at(kernels, plan, block, next);
  fetches.c = {p.c + block.rows.begin * p.c_row + next, p.c_row, block.rows.end - block.rows.begin,
               after.width / kLine + 1};
  if (p.b.packed) {
    fetches.panel = {packed_panel(p, block, after), kLine, block.depth * after.width / kLine, 1};
    return;
  }
  const LinesAhead place{after.packed, kLine, block.depth * after.width / kLine, 1};
  if (plan.pack_b && !block.one_panel) (block.pack_b ? fetches.place : fetches.panel) = place;
  if ((plan.pack_b && !block.one_panel && !block.pack_b) || p.b.run > 0) return;
  const float* from = p.b.data + block.k * p.b.row + next * p.b.column;
  fetches.panel =
      p.b.column == 1
          ? LinesAhead{from, p.b.row, std::min(block.depth, lines_held(p.b.row)),
                       (after.width + kLine - 1) / kLine}
          : LinesAhead{from, p.b.column, after.count, (block.depth + kLine - 1) / kLine};
}

/// Row i of A in a block.
const float* row_of_a(const Product& p, const Plan& plan, const Block& block, std::int64_t i) {
  return block.a ? block.a + (i - block.rows.begin) / plan.height * panel_a(plan, block.depth)
                 : p.a.data + i * p.a.row + block.k * p.a.column;
}

/// The tiles over one panel of B.
void multiply_panel(const Product& p, const Kernels& kernels, const Plan& plan, const Block& block,
                    const Panel& panel, Fetches& fetches, GemmTile& t) {
  const std::int64_t height =
      block.a || t.pack_b ? plan.height : tile_height(p, kernels, panel.width / kernels.lanes);
  const bool ahead = streams(p, plan, block);
  for (std::int64_t i = block.rows.begin; i < block.rows.end; i += height) {
    const std::int64_t end = std::min(i + height, block.rows.end);
    t.a = row_of_a(p, plan, block, i);
    t.c = p.c + i * p.c_row + panel.j;
    t.next_c = end < block.rows.end ? t.c + height * p.c_row
                                    : p.c + block.rows.begin * p.c_row + panel.j + panel.count;
    if (ahead) {
      t.next_a = t.a + kTilesAhead * height * p.a.row;
      t.next_c = t.c + kTilesAhead * height * p.c_row;
    }
    t.rows = static_cast<int>(end - i);
    t.ahead = fetches.next();
    kernels.gemm_tile(t);
    if (t.pack_b) {
      t.b = t.pack_b;
      t.b_step = panel.width;
      t.pack_b = nullptr;
    }
  }
}

/// f(panel) for each panel of a block.
template <class F>
void each_panel(const Kernels& kernels, const Plan& plan, const Block& block, const F& f) {
  for (std::int64_t j = block.columns.begin; j < block.columns.end;) {
    const Panel panel = panel_at(kernels, plan, block, j);
    f(panel);
    j += panel.count;
  }
}

/// One row of tiles after the other.
void multiply_along_rows(const Product& p, const Kernels& kernels, const Plan& plan,
                         const Block& block, Fetches& fetches, GemmTile& t) {
  if (block.pack_b)
    each_panel(kernels, plan, block,
               [&](const Panel& panel) { pack_panel(p, kernels, block, panel); });
  for (std::int64_t i = block.rows.begin; i < block.rows.end; i += plan.height) {
    const std::int64_t next = i + plan.height;
    t.rows = static_cast<int>(std::min(next, block.rows.end) - i);
    t.a = row_of_a(p, plan, block, i);
    each_panel(kernels, plan, block, [&](const Panel& panel) {
      t.b = p.b.packed ? packed_panel(p, block, panel) : panel.packed;
      t.b_step = panel.width;
      t.columns = static_cast<int>(panel.count);
      t.bias = p.bias ? p.bias + panel.j : nullptr;
      t.c = p.c + i * p.c_row + panel.j;
      if (panel.j + panel.count < block.columns.end) {
        t.next_c = t.c + panel.count;
      } else {
        t.next_c = next < block.rows.end ? p.c + next * p.c_row + block.columns.begin : nullptr;
      }
      t.ahead = fetches.next();
      kernels.gemm_tile(t);
    });
  }
}

/// One tile of rows, of a B that lies along k: what is packed of a panel at a time stays in L1, and
/// the sums go on from piece to piece.
void multiply_by_pieces(const Product& p, const Kernels& kernels, const Plan& plan,
                        const Block& block, const Panel& panel, GemmTile& t) {
  constexpr std::int64_t kPiece = 64;  // of k
  alignas(64) float part[kMaxTileRows * kMaxPanelVectors * kLine];
  t.rows = static_cast<int>(block.rows.end - block.rows.begin);
  t.c = p.c + block.rows.begin * p.c_row + panel.j;
  t.b = panel.packed;
  t.b_step = panel.width;
  std::int64_t k = 0;
  do {  // once for an empty sum, too
    Block piece = block;
    piece.k = block.k + k;
    piece.depth = std::min(kPiece, block.depth - k);
    pack_panel(p, kernels, piece, panel);
    t.a = row_of_a(p, plan, piece, block.rows.begin);
    t.k = piece.depth;
    t.from_part = k > 0 ? part : nullptr;
    t.to_part = k + kPiece < block.depth ? part : nullptr;
    kernels.gemm_tile(t);
    k += kPiece;
  } while (k < block.depth);
  t.from_part = nullptr;
  t.to_part = nullptr;
  t.k = block.depth;
}

void multiply_block(const Product& p, const Kernels& kernels, const Plan& plan,
                    const Block& block) {
  GemmTile t{};
  t.k = block.depth;
  t.c_row = p.c_row;
  t.alpha = p.alpha;
  t.beta = block.k == 0 ? p.beta : 1.0f;
  t.a_row = block.a ? 1 : p.a.row;
  t.a_step = block.a ? plan.height : p.a.column;
  const bool last = block.k + block.depth == p.k;
  t.relu = last && p.relu;
  Fetches fetches;
  if (last) fetches.after = p.next;
  if (plan.along_rows) {
    multiply_along_rows(p, kernels, plan, block, fetches, t);
    return;
  }
  const bool pieces = !p.b.packed && p.b.column != 1 && !block.a && block.one_panel &&
                      block.rows.end - block.rows.begin <= plan.height;
  each_panel(kernels, plan, block, [&](const Panel& panel) {
    t.bias = last && p.bias ? p.bias + panel.j : nullptr;
    t.columns = static_cast<int>(panel.count);
    if (pieces) return multiply_by_pieces(p, kernels, plan, block, panel, t);
    panel_of_b(p, kernels, plan, block, panel, t);
    fetch_after(p, kernels, plan, block, panel, fetches);
    multiply_panel(p, kernels, plan, block, panel, fetches, t);
  });
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
  const std::int64_t parts = std::max<std::int64_t>(1, rows / plan.rows);  // of nearly equal height
  const std::int64_t part = round_up((rows + parts - 1) / parts, plan.height);
  block.one_panel = parts == 1 && !plan.along_rows;
  const std::int64_t held = block.one_panel ? plan.width : std::min(columns, plan.columns);
  if (plan.pack_a || scattered(p, part, columns))
    block.a =
        scratch.get<float>(Use::strip, part / plan.height * panel_a(plan, plan.depth), thread);
  block.b = scratch.get<float>(Use::weights,
                               vectors_of(held, kernels) * vector_b(kernels, plan.depth), thread);
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
  if (better_turned(p, kernels)) return multiply_turned(p, context);
  Scratch& scratch = context.ready();
  const Plan plan = plan_of(p, kernels, kernels.gemm_depth);
  if (!worth_a_team(p)) {
    multiply_region(p, kernels, plan, scratch, {{0, p.m}, {0, p.n}});
    return;
  }
  const std::int64_t panels = (p.n + plan.width - 1) / plan.width;
  if (!plan.pack_a && p.m < 2 * plan.rows && panels >= kPanelsPerThread * omp_get_max_threads()) {
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
    // Few panels of B are cut, else a whole one more or less would decide when the last thread
    // ends.
    const std::int64_t grain = panels < kFewPanels * columns ? kernels.lanes : plan.width;
    multiply_region(p, kernels, plan, scratch,
                    {share(p.m, thread / columns, rows, plan.height),
                     share(p.n, thread % columns, columns, grain)});
  }
}

void pack_panels(const Product& p, const Kernels& kernels, float* to) {
  const Plan plan = plan_of(p, kernels, kernels.gemm_depth);
  Block block{};
  block.depth = p.k;
  for (std::int64_t jc = 0; jc < p.n; jc += plan.columns) {
    block.columns = {jc, std::min(jc + plan.columns, p.n)};
    each_panel(kernels, plan, block, [&](Panel panel) {
      panel.packed = to + panel.j * p.k;
      pack_panel(p, kernels, block, panel);
    });
  }
}

void multiply_share(const Product& p, Context& context, int part, int parts) {
  const Plan plan = plan_of(p, context.kernels(), context.kernels().gemm_depth);
  multiply_region(p, context.kernels(), plan, context.scratch,
                  {share(p.m, part, parts, plan.height), {0, p.n}});
}

}  // namespace isaribi::simd
