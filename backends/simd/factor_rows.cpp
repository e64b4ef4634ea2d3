// SPDX-License-Identifier: MIT
// A tile of f64 sums is formed in L1 while it walks the blocks of kSampleBlock samples, then scaled
// and stored where it belongs. x is read where it lies: threads share nothing but x, since lines
// that one core wrote and another reads are what costs most here.
#include "backends/simd/factor_rows.hpp"

#include <algorithm>

#include "backends/api/conv.hpp"
#include "backends/simd/gemm_plan.hpp"
#include "backends/simd/parallel.hpp"

namespace isaribi::simd {
namespace {

/// How the triangle is cut: strips of rows times panels of columns.
struct Tiles {
  std::int64_t height, width, strips, panels, lanes;
  /// A panel needs the strips from here on.
  std::int64_t first_strip(std::int64_t panel) const { return panel * width / height; }
  /// Columns up to the diagonal in the last row of a strip, to whole vectors.
  std::int64_t cost(std::int64_t strip) const { return round_up((strip + 1) * height, lanes); }
  std::int64_t cost() const {
    std::int64_t sum = 0;
    for (std::int64_t strip = 0; strip < strips; ++strip) sum += cost(strip);
    return sum;
  }
};

Tiles tiles_of(const RowsFactor& f, const Kernels& kernels) {
  const std::int64_t all = (f.in + kernels.lanes - 1) / kernels.lanes;
  const auto vectors = static_cast<int>(std::min<std::int64_t>(kernels.gemm_vectors, all));
  const std::int64_t height = kernels.tile_rows[vectors], width = vectors * kernels.lanes;
  return {height, width, (f.in + height - 1) / height, (f.in + width - 1) / width, kernels.lanes};
}

/// A panel of x as it lies, or copied where whole vectors would reach beyond its columns.
struct Panel {
  const float* data;
  std::int64_t step, begin, columns;
};

/// The sums of `rows` rows, of which the first is at `left`, `left_step` from sample to sample, and
/// of the first `columns` columns of a panel. `ahead` is brought near meanwhile.
void sum_tile(const RowsFactor& f, const Kernels& kernels, const Panel& panel, const float* left,
              std::int64_t left_step, std::int64_t rows, std::int64_t columns, std::int64_t row,
              double* sums, LinesAhead& ahead) {
  if (f.n == 0) std::fill_n(sums, rows * row, 0.0);
  GemmTile t{};
  t.a_row = 1;
  t.a_step = left_step;
  t.b_step = panel.step;
  t.rows = static_cast<int>(rows);
  t.columns = static_cast<int>(columns);
  t.sums = sums;
  t.sums_row = row;
  t.ahead = &ahead;
  for (std::int64_t begin = 0; begin < f.n; begin += api::kSampleBlock) {
    t.k = std::min(api::kSampleBlock, f.n - begin);
    t.a = left + begin * left_step;
    t.b = panel.data + begin * panel.step;
    t.beta = begin > 0 ? 1.0f : 0.0f;
    kernels.gemm_tile(t);
  }
}

/// to = (to +) scale sums.
void store_row(const RowsFactor& f, const Kernels& kernels, const double* sums, std::int64_t count,
               float* to) {
  kernels.axpby_f64_f32(f.scale, sums, f.accumulate ? 1.0 : 0.0, to, count);
}
void store_row(const RowsFactor& f, const Kernels& kernels, const double* sums, std::int64_t count,
               double* to) {
  kernels.axpby_f64(f.scale, sums, f.accumulate ? 1.0 : 0.0, to, count);
}

std::int64_t row_begin(std::int64_t row) {
  return row * (row + 1) / 2;
}

/// What the panel behind this one reads of x: other threads wrote much of it.
LinesAhead next_panel(const RowsFactor& f, const Tiles& tiles, const Panel& panel) {
  const std::int64_t begin = panel.begin + tiles.width,
                     columns = std::min(tiles.width, f.in - begin);
  if (columns <= 0) return {};
  return {f.x + begin, f.in, f.n, (columns + kLine - 1) / kLine};
}

/// The tiles of one panel: strips [from, to), and the row of the bias.
template <typename T>
void run_panel(const RowsFactor& f, const Kernels& kernels, const Tiles& tiles, const Panel& panel,
               Range strips, double* sums, T* a) {
  LinesAhead ahead = next_panel(f, tiles, panel);
  for (std::int64_t strip = strips.begin; strip < strips.end; ++strip) {
    const std::int64_t first = strip * tiles.height, end = std::min(first + tiles.height, f.in);
    const std::int64_t columns = std::min(panel.columns, end - panel.begin);
    sum_tile(f, kernels, panel, f.x + first, f.in, end - first, columns, tiles.width, sums, ahead);
    for (std::int64_t row = std::max(first, panel.begin); row < end; ++row)
      store_row(f, kernels, sums + (row - first) * tiles.width,
                std::min(panel.columns, row + 1 - panel.begin), a + row_begin(row) + panel.begin);
  }
  if (!f.bias || strips.end < tiles.strips) return;
  static const float one = 1.0f;
  sum_tile(f, kernels, panel, &one, 0, 1, panel.columns, tiles.width, sums, ahead);
  store_row(f, kernels, sums, panel.columns, a + row_begin(f.in) + panel.begin);
}

/// Panel `index`; where it needs a copy, that is made at `copy`.
Panel panel_of(const RowsFactor& f, const Kernels& kernels, const Tiles& tiles, std::int64_t index,
               float* copy) {
  const std::int64_t begin = index * tiles.width, columns = std::min(tiles.width, f.in - begin);
  if (columns % kernels.lanes == 0) return {f.x + begin, f.in, begin, columns};
  const std::int64_t width = (columns + kernels.lanes - 1) / kernels.lanes * kernels.lanes;
  kernels.gemm_pack({f.x + begin, 1, f.in, columns, f.n, width, f.n * width + 16, copy});
  return {copy, width, begin, columns};
}

}  // namespace

template <typename T>
void run_rows(const RowsFactor& f, T* a, Context& context) {
  const Kernels& kernels = context.kernels();
  Scratch& scratch = context.ready();
  if (f.in > 0) {
    const Tiles tiles = tiles_of(f, kernels);
    parallel_ranges(tiles.cost(), f.n * f.in * f.in / 8, 1, [&](Range r) {
      const int thread = omp_get_thread_num();
      double* sums = scratch.get<double>(Use::sums, tiles.height * tiles.width, thread);
      float* copy = scratch.get<float>(Use::strip, f.n * tiles.width + 16, thread);
      Range own{tiles.strips, 0};  // strips that begin within r
      for (std::int64_t strip = 0, at = 0; strip < tiles.strips; at += tiles.cost(strip++)) {
        if (r.begin <= at && at < r.end) own = {std::min(own.begin, strip), strip + 1};
      }
      for (std::int64_t p = 0; p < tiles.panels; ++p) {
        const Range strips{std::max(own.begin, tiles.first_strip(p)), own.end};
        if (strips.begin < strips.end)
          run_panel(f, kernels, tiles, panel_of(f, kernels, tiles, p, copy), strips, sums, a);
      }
    });
  }
  const auto samples = static_cast<double>(f.n);
  if (f.bias) store_row(f, kernels, &samples, 1, a + row_begin(f.in) + f.in);
}

template void run_rows(const RowsFactor&, float*, Context&);
template void run_rows(const RowsFactor&, double*, Context&);

}  // namespace isaribi::simd
