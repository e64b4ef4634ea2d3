// SPDX-License-Identifier: MIT
// Rows are taken a part at a time, which is copied into panels of columns: rows of a tile are read
// from them, too. A tile of f64 sums is formed in L1 while it walks the blocks of a part, then
// scaled and stored where it belongs; where there are several parts, sums are kept from one to the
// next. Many rows are cut into slices with sums of their own, as many as the shape says. Threads
// share nothing but x, since lines that one core wrote and another reads are what costs most here.
#include "backends/simd/factor_rows.hpp"

#include <algorithm>
#include <bit>

#include "backends/api/conv.hpp"
#include "backends/simd/gemm_plan.hpp"
#include "backends/simd/parallel.hpp"

namespace isaribi::simd {
namespace {

constexpr std::int64_t kPartRows = 512;       // at most
constexpr std::int64_t kSliceRows = 1024;     // at least, and of many columns more:
constexpr std::int64_t kSliceColumns = 16;    // as many rows per column repay adding its sums
constexpr std::int64_t kSlices = 32;          // at most
constexpr std::int64_t kKept = 4 << 20;       // elements of the sums of all slices
constexpr std::int64_t kStaged = 8;           // rows that are gathered before they are packed
constexpr std::int64_t kDirectColumns = 192;  // as few are read where they lie
constexpr int kVectors = 3;                   // of a panel
constexpr std::int64_t kPanelStrips = 6;      // as high: half a vector

/// How the triangle is cut: strips of rows, panels of columns.
struct Tiles {
  std::int64_t columns, lanes, height, width, strips, panels;

  Tiles(std::int64_t n, const Kernels& kernels)
      : columns(n),
        lanes(kernels.lanes),
        height(kVectors * lanes / kPanelStrips),
        width(kVectors * lanes),
        strips((n + height - 1) / height),
        panels((n + width - 1) / width) {}
  std::int64_t size() const { return height * width; }  // of a tile
  std::int64_t area() const { return panels * strips * size(); }
  /// Where the sums of a tile are kept.
  std::int64_t at(std::int64_t panel, std::int64_t strip) const {
    return (panel * strips + strip) * size();
  }
  /// Strip `strip` begins in the triangle here.
  std::int64_t row(std::int64_t strip) const { return strip * height; }
  std::int64_t end(std::int64_t strip) const { return std::min(columns, row(strip + 1)); }
  /// Panels up to the diagonal.
  std::int64_t panels_of(std::int64_t strip) const { return strip / kPanelStrips + 1; }
  /// Columns up to the diagonal in the last row of a strip, to whole vectors.
  std::int64_t cost(std::int64_t strip) const { return round_up((strip + 1) * height, lanes); }
  /// Strips of share `part` of `parts`, of equal cost.
  Range share_of(std::int64_t part, std::int64_t parts) const {
    std::int64_t all = 0;
    for (std::int64_t strip = 0; strip < strips; ++strip) all += cost(strip);
    const std::int64_t begin = all * part / parts, end = all * (part + 1) / parts;
    Range own{strips, 0};
    for (std::int64_t strip = 0, at = 0; strip < strips; at += cost(strip++)) {
      if (begin <= at && at < end) own = {std::min(own.begin, strip), strip + 1};
    }
    return own;
  }
};

/// Of samples with `positions` rows each: the most that api::kSampleBlock samples are made of.
std::int64_t rows_of_block(std::int64_t positions) {
  const std::int64_t all = api::kSampleBlock * positions;
  std::int64_t best = api::kSampleBlock;
  for (std::int64_t rows = best; rows <= std::min(all, kPartRows); ++rows) {
    if (all % rows == 0) best = rows;
  }
  return best;
}

/// How the rows are cut.
struct Cut {
  std::int64_t rows, block, slices;
  std::int64_t part;  // rows at most: whole blocks
  bool keeps;         // the sums of a tile are not complete at once

  Cut(const PatchRows& x, const Tiles& tiles)
      : rows(x.rows()), block(rows_of_block(x.positions())) {
    const std::int64_t least = std::max(kSliceRows, kSliceColumns * tiles.columns);
    const std::int64_t most =
        std::min({rows / least, kKept / (tiles.columns * tiles.columns), kSlices});
    slices =
        most > 1 ? static_cast<std::int64_t>(std::bit_floor(static_cast<std::uint64_t>(most))) : 1;
    part = std::max<std::int64_t>(1, kPartRows / block) * block;
    keeps = slices > 1 || rows > part;
  }
  /// Whole blocks.
  Range slice(std::int64_t s) const {
    const std::int64_t blocks = (rows + block - 1) / block;
    return {std::min(rows, blocks * s / slices * block),
            std::min(rows, blocks * (s + 1) / slices * block)};
  }
};

/// to = (to +) scale sums.
void store_row(const RowsFactor& f, const Kernels& kernels, const double* sums, std::int64_t count,
               float* to) {
  kernels.axpby_f64_f32(f.scale, sums, f.accumulate ? 1.0 : 0.0, to, count);
}
void store_row(const RowsFactor& f, const Kernels& kernels, const double* sums, std::int64_t count,
               double* to) {
  kernels.axpby_f64(f.scale, sums, f.accumulate ? 1.0 : 0.0, to, count);
}

template <typename T>
void store_tile(const RowsFactor& f, const Kernels& kernels, const Tiles& tiles, std::int64_t panel,
                std::int64_t strip, const double* sums, T* a) {
  const std::int64_t first = tiles.row(strip), column = panel * tiles.width;
  for (std::int64_t row = first; row < tiles.end(strip); ++row)
    store_row(f, kernels, sums + (row - first) * tiles.width,
              std::min(tiles.width, row + 1 - column), a + row * (row + 1) / 2 + column);
}

/// Strips of one slice by one thread.
template <typename T>
class RowsRun {
 public:
  /// kept: the sums of the slice, or nullptr. a: where they belong, if there is but one slice.
  RowsRun(const RowsFactor& f, const Tiles& tiles, const Cut& cut, Range rows, Range strips,
          double* kept, T* a, Context& context)
      : f_(f),
        tiles_(tiles),
        cut_(cut),
        rows_(rows),
        strips_(strips),
        kernels_(context.kernels()),
        kept_(kept),
        a_(a) {
    const int thread = omp_get_thread_num();
    in_ = f.x.columns();
    direct_ = f.x.in_place() && !f.bias && in_ % tiles.lanes == 0 && in_ <= kDirectColumns;
    panels_ = tiles.panels_of(strips.end - 1);
    panel_size_ = cut.part * tiles.width + 16;
    if (!direct_) copy_ = context.scratch.get<float>(Use::strip, panels_ * panel_size_, thread);
    if (!f.x.in_place()) staged_ = context.scratch.get<float>(Use::weights, kStaged * in_, thread);
    if (!kept) tile_ = context.scratch.get<double>(Use::sums, tiles.size(), thread);
  }

  void run() {
    std::int64_t begin = rows_.begin;
    do {
      const Range part{begin, std::min(begin + cut_.part, rows_.end)};
      if (!direct_) copy(part);
      multiply(part);
      begin += cut_.part;
    } while (begin < rows_.end);
  }

 private:
  struct Panel {
    const float* data;
    std::int64_t step;
  };
  Panel panel(std::int64_t p, Range part) const {
    if (direct_) return {f_.x.in_place() + part.begin * in_ + p * tiles_.width, in_};
    return {copy_ + p * panel_size_, tiles_.width};
  }

  void pack(const float* rows, std::int64_t count, float* to) const {
    kernels_.gemm_pack({rows, 1, in_, std::min(panels_ * tiles_.width, in_), count, tiles_.width,
                        panel_size_, to});
  }

  /// The rows of a part, and the 1 of the bias behind each.
  void copy(Range part) const {
    const std::int64_t count = part.end - part.begin;
    if (f_.x.in_place()) {
      pack(f_.x.in_place() + part.begin * in_, count, copy_);
    } else {
      for (std::int64_t k = 0; k < count; k += kStaged) {
        const std::int64_t rows = std::min(kStaged, count - k);
        for (std::int64_t r = 0; r < rows; ++r) f_.x.copy(part.begin + k + r, staged_ + r * in_);
        pack(staged_, rows, copy_ + k * tiles_.width);
      }
    }
    const std::int64_t p = in_ / tiles_.width, at = in_ % tiles_.width;
    if (!f_.bias || p >= panels_) return;
    float* last = copy_ + p * panel_size_;
    if (at == 0) std::fill_n(last, count * tiles_.width, 0.0f);
    for (std::int64_t k = 0; k < count; ++k) last[k * tiles_.width + at] = 1.0f;
  }

  /// Strips in groups that stay in L2. Tiles fetch the panel that comes next if L2 does not hold
  /// the part, else the next part.
  void multiply(Range part) const {
    const std::int64_t count = part.end - part.begin;
    const std::int64_t strip_bytes = std::max<std::int64_t>(1, count * tiles_.height * 4);
    const std::int64_t most = std::max<std::int64_t>(1, caches().l2 / 4 / strip_bytes);
    const bool held = panels_ * kPanelStrips * strip_bytes <= caches().l2 / 2;
    const std::int64_t next = std::min(cut_.part, rows_.end - part.end);
    LinesAhead ahead{};
    if (f_.x.in_place()) ahead = {f_.x.in_place() + part.end * in_, kLine, next * in_ / kLine, 1};
    for (std::int64_t begin = strips_.begin; begin < strips_.end; begin += most) {
      const std::int64_t end = std::min(begin + most, strips_.end);
      for (std::int64_t p = 0; p < tiles_.panels_of(end - 1); ++p) {
        if (!held && p + 1 < tiles_.panels_of(end - 1))
          ahead = {panel(p + 1, part).data, kLine, count * tiles_.width / kLine, 1};
        for (std::int64_t strip = std::max(begin, p * kPanelStrips); strip < end; ++strip)
          run_tile(part, p, strip, ahead);
      }
    }
  }

  /// Where a tile is stored, about: each row of a triangle is longer by an element.
  LinesAhead stored(std::int64_t first, std::int64_t column) const {
    constexpr std::int64_t kSize = sizeof(T) / sizeof(float);
    const auto* from = reinterpret_cast<const float*>(a_ + first * (first + 1) / 2 + column);
    return {from, (first + tiles_.height / 2) * kSize, tiles_.height,
            tiles_.width * kSize / kLine + 1};
  }

  void run_tile(Range part, std::int64_t p, std::int64_t strip, LinesAhead& ahead) const {
    const std::int64_t first = tiles_.row(strip), column = p * tiles_.width;
    const Panel rows = panel(strip / kPanelStrips, part), columns = panel(p, part);
    const bool complete = a_ && part.end == rows_.end;
    LinesAhead out{};
    if (complete) out = stored(first, column);
    GemmTile t{};
    t.a = rows.data + first % tiles_.width;
    t.a_row = 1;
    t.a_step = rows.step;
    t.b = columns.data;
    t.b_step = columns.step;
    t.k = part.end - part.begin;
    t.rows = static_cast<int>(tiles_.end(strip) - first);
    t.columns = static_cast<int>(std::min(tiles_.width, tiles_.end(strip) - column));
    t.beta = part.begin > rows_.begin ? 1.0f : 0.0f;
    t.ahead = complete && done(ahead) ? &out : &ahead;
    t.sums = kept_ ? kept_ + tiles_.at(p, strip) : tile_;
    t.sums_row = tiles_.width;
    t.block = cut_.block;
    if (t.k == 0) std::fill_n(t.sums, tiles_.size(), 0.0);
    kernels_.gemm_sums(t);
    if (complete) store_tile(f_, kernels_, tiles_, p, strip, t.sums, a_);
  }

  const RowsFactor& f_;
  const Tiles& tiles_;
  const Cut& cut_;
  Range rows_, strips_;
  const Kernels& kernels_;
  double* kept_;
  T* a_;
  std::int64_t in_ = 0;  // columns without the bias
  bool direct_ = false;
  std::int64_t panels_ = 0, panel_size_ = 0;
  float* copy_ = nullptr;    // [panel][row of a part][column]
  float* staged_ = nullptr;  // some rows
  double* tile_ = nullptr;   // the sums of one
};

/// The sums of all slices, added in order, of one strip.
template <typename T>
void add_slices(const RowsFactor& f, const Kernels& kernels, const Tiles& tiles,
                std::int64_t slices, std::int64_t strip, double* kept, T* a) {
  for (std::int64_t p = 0; p < tiles.panels_of(strip); ++p) {
    double* sums = kept + tiles.at(p, strip);
    for (std::int64_t s = 1; s < slices; ++s)
      kernels.axpby_f64(1.0, sums + s * tiles.area(), 1.0, sums, tiles.size());
    store_tile(f, kernels, tiles, p, strip, sums, a);
  }
}

}  // namespace

template <typename T>
void run_rows(const RowsFactor& f, T* a, Context& context) {
  Scratch& scratch = context.ready();
  const Tiles tiles(f.x.columns() + (f.bias ? 1 : 0), context.kernels());
  const Cut cut(f.x, tiles);
  double* kept = cut.keeps ? scratch.get<double>(Use::partial, cut.slices * tiles.area()) : nullptr;
  T* out = cut.slices == 1 ? a : nullptr;
#pragma omp parallel if (omp_get_max_threads() > 1 && \
                         cut.rows * tiles.columns * tiles.columns / 8 >= kSerialBelow)
  {
    const int team = omp_get_num_threads();
    const std::int64_t shares = std::max<std::int64_t>(1, team / cut.slices);
    const Range units = share(cut.slices * shares, omp_get_thread_num(), team);
    // What was written last comes first: a thread's cache may hold no more of its share.
    for (std::int64_t unit = units.end - 1; unit >= units.begin; --unit) {
      const std::int64_t s = unit / shares;
      const Range strips = tiles.share_of(unit % shares, shares);
      if (strips.begin < strips.end)
        RowsRun<T>(f, tiles, cut, cut.slice(s), strips, kept ? kept + s * tiles.area() : nullptr,
                   out, context)
            .run();
    }
    if (cut.slices > 1) {
#pragma omp barrier
#pragma omp for schedule(dynamic)
      for (std::int64_t strip = 0; strip < tiles.strips; ++strip)
        add_slices(f, context.kernels(), tiles, cut.slices, strip, kept, a);
    }
  }
}

template void run_rows(const RowsFactor&, float*, Context&);
template void run_rows(const RowsFactor&, double*, Context&);

}  // namespace isaribi::simd
