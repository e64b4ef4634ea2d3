// SPDX-License-Identifier: MIT
#include "backends/simd/factor_plan.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "backends/simd/factor_pairs.hpp"
#include "backends/simd/parallel.hpp"

namespace isaribi::simd {
namespace {

/// A run of neighbouring elements times the channels of one tap.
struct Run {
  std::int64_t row_offset, row;  // where the channels lie, and their row of the factor
  FactorStrip strip;             // begin = 0, end = length of the run
  bool diagonal;                 // columns before the row repeat the lower triangle
};

/// The largest number of vectors of a tile: few loads per multiply-add, little left over.
int choose_vectors(const Kernels& kernels, std::int64_t rows, std::int64_t vectors) {
  int best = 1;
  double least = HUGE_VAL;
  for (int most = 1; most <= kMaxPanelVectors; ++most) {
    const std::int64_t pieces = (vectors + most - 1) / most;
    double cost = 0;
    for (std::int64_t p = 0; p < pieces; ++p) {
      const auto v = static_cast<double>(vectors * (p + 1) / pieces - vectors * p / pieces);
      const int high = kernels.outer_rows[static_cast<int>(v)];
      const auto tiles = static_cast<double>((rows + high - 1) / high);
      cost +=
          v * static_cast<double>(rows) + tiles * (1.0 + 0.3 * v) + 0.3 * static_cast<double>(rows);
    }
    if (cost < least) {
      least = cost;
      best = most;
    }
  }
  return best;
}

class Cutter {
 public:
  Cutter(const Kernels& kernels, FactorPlan& plan) : kernels_(kernels), plan_(plan) {}

  /// Tiles of all channels times one run, plane by plane.
  void cut(const Run& run) {
    for (std::int64_t p = 0; p < plan_.planes(); ++p) {
      for (std::int64_t q = run.diagonal ? p : 0; q < plan_.planes(); ++q) {
        Run part = run;
        part.row_offset += p * plan_.plane;
        part.row += p * plan_.width;
        part.diagonal = run.diagonal && p == q;
        part.strip.offset += q * (plan_.plane - plan_.width);
        part.strip.begin = q * plan_.width;
        if (plan_.planes() > 1) part.strip.end = part.strip.begin + plan_.width;
        cut_plane(part);
      }
    }
  }

  /// Several short runs of the same rows in one tile, when they fit.
  bool cut_together(const std::vector<FactorStrip>& runs, std::int64_t rows) {
    const std::int64_t lanes = kernels_.lanes;
    if (plan_.direct || plan_.planes() > 1 || runs.size() < 2) return false;
    int each = 0;
    for (const FactorStrip& run : runs)
      each = std::max(each, static_cast<int>((run.end + lanes - 1) / lanes));
    int together = kMaxPanelVectors / each;
    while (together > 1 && kernels_.outer_rows[together * each] < rows) --together;
    if (together < 2) return false;
    const auto count = static_cast<std::int64_t>(runs.size());
    const std::int64_t pieces = (count + together - 1) / together;
    for (std::int64_t p = 0; p < pieces; ++p) {
      FactorItem item = item_of({0, 0, runs[0], false}, 0, rows);
      for (std::int64_t k = count * p / pieces; k < count * (p + 1) / pieces; ++k) {
        FactorStrip& strip = item.strips[item.strip_count++];
        strip = runs[static_cast<std::size_t>(k)];
        strip.vectors = each;
        item.vectors += each;
      }
      plan_.items.push_back(item);
    }
    return true;
  }

 private:
  /// All of the run, or what a whole vector does not know to lie below the diagonal.
  void cut_plane(const Run& run) {
    const std::int64_t rows = plan_.width;
    const std::int64_t band = run.diagonal ? kernels_.lanes : std::max<std::int64_t>(1, rows);
    for (std::int64_t i = 0; i < rows; i += band) {
      cut_rectangle(run, i, std::min(rows, i + band), run.strip.begin + (run.diagonal ? i : 0));
    }
  }

  /// Rows [top, bottom) times elements [left, end) of the run.
  void cut_rectangle(const Run& run, std::int64_t top, std::int64_t bottom, std::int64_t left) {
    const std::int64_t lanes = kernels_.lanes, rows = bottom - top;
    const std::int64_t all = (run.strip.end - left + lanes - 1) / lanes;
    const int most = choose_vectors(kernels_, rows, all);
    const std::int64_t pieces = (all + most - 1) / most;
    for (std::int64_t p = 0; p < pieces; ++p) {
      const std::int64_t begin = left + all * p / pieces * lanes;
      const std::int64_t end = std::min(run.strip.end, left + all * (p + 1) / pieces * lanes);
      const auto vectors = static_cast<int>((end - begin + lanes - 1) / lanes);
      const std::int64_t high = kernels_.outer_rows[vectors], parts = (rows + high - 1) / high;
      for (std::int64_t part = 0; part < parts; ++part) {
        FactorItem item = item_of(run, top + rows * part / parts, top + rows * (part + 1) / parts);
        item.vectors = vectors;
        item.strip_count = 1;
        item.strips[0] = run.strip;
        item.strips[0].offset += begin;
        item.strips[0].begin = begin;
        item.strips[0].end = end;
        item.strips[0].vectors = vectors;
        plan_.items.push_back(item);
      }
    }
  }

  static FactorItem item_of(const Run& run, std::int64_t i0, std::int64_t i1) {
    FactorItem item;
    item.offset = run.row_offset + i0;
    item.row = run.row + i0;
    item.rows = static_cast<int>(i1 - i0);
    return item;
  }

  const Kernels& kernels_;
  FactorPlan& plan_;
};

bool padded(const api::ConvGeometry& g) {
  return g.pad_top > 0 || g.pad_left > 0 || g.pad_bottom > 0 || g.pad_right > 0;
}

void one_cell(std::int64_t size, FactorAxis& axis) {
  axis.edges.assign({0, size});
  axis.first.assign(1, 0);
  axis.last.assign(1, 1);
}

/// As many channels as one tile takes, where there are more.
std::int64_t plane_width(std::int64_t channels) {
  for (const std::int64_t width : {64, 48}) {
    if (channels > width && channels % width == 0) return width;
  }
  return std::max<std::int64_t>(1, channels);
}

void set_steps(FactorPlan& p, std::int64_t step_h, std::int64_t step_w) {
  if (p.direct) {
    p.pixel = step_w * p.channels;
    p.row = step_h * p.w * p.channels;
    p.image = p.h * p.w * p.channels;
    p.group = p.per;
    p.width = std::max<std::int64_t>(1, p.per);
    return;
  }
  p.width = plane_width(p.per);
  p.pixel = step_w * p.width;
  p.row = step_h * p.columns * p.width;
  p.plane = p.all_rows() * p.columns * p.width;
  p.group = p.planes() * p.plane;
  p.image = p.groups * p.group;
}

/// Whether neighbouring taps of a kernel row read neighbouring elements.
bool is_joined(const FactorPlan& p) {
  return p.dilation_w == 1 && p.planes() == 1;
}

/// Multiply-adds of vectors, and what the sums of a block of samples cost: per vector of the tile,
/// a store and a load per cell, and about eight operations per window.
double cost_of(const FactorPlan& p, double pixels, double windows) {
  double vectors = 0;
  for (const FactorItem& item : p.items) vectors += item.rows * item.vectors;
  const double block = 2.0 * static_cast<double>(p.cells()) + 8.0 * windows;
  return vectors * (pixels + block / static_cast<double>(api::kSampleBlock));
}

/// A bundle per item.
void bundle_singly(FactorPlan& p) {
  p.bundles.clear();
  for (std::size_t i = 0; i < p.items.size(); ++i)
    p.bundles.push_back({static_cast<int>(i), 1, false});
}

void plan_distances(const api::PatchCovariance& args, const Kernels& kernels, bool direct,
                    FactorPlan& p) {
  const api::ConvGeometry& g = args.geometry;
  p.by_distance = true;
  p.pixels.clear();
  p.core = -1;
  p.pairs = 0;
  p.direct = direct;
  p.top = p.left = 0;
  p.rows = p.h + (p.kh - 1) * g.dilation_h;
  p.columns = p.w + (p.kw - 1) * g.dilation_w;
  set_steps(p, 1, 1);
  p.lead = (p.kw - 1) * g.dilation_w * p.width;
  p.vertical = cut_axis(p.h, p.kh, g.dilation_h, g.pad_top, g.out_h(p.h, p.kh));
  p.horizontal = cut_axis(p.w, p.kw, g.dilation_w, g.pad_left, g.out_w(p.w, p.kw));
  p.bands.resize(static_cast<std::size_t>(p.kh));
  for (std::int64_t dh = 0; dh < p.kh; ++dh)  // what is dh rows below the last ones is 0
    p.bands[static_cast<std::size_t>(dh)] =
        cut_axis(std::max<std::int64_t>(0, p.h - dh * g.dilation_h), p.kh - dh, g.dilation_h,
                 g.pad_top, g.out_h(p.h, p.kh));
  p.items.clear();
  Cutter cutter(kernels, p);
  const bool joined = is_joined(p);
  p.runs.clear();
  for (std::int64_t dh = 0; dh < p.kh; ++dh) {
    const std::int64_t least = dh == 0 ? 0 : 1 - p.kw;
    for (std::int64_t dw = least; dw < (joined ? least + 1 : p.kw); ++dw) {
      FactorStrip run;
      run.offset = dh * g.dilation_h * p.row + dw * g.dilation_w * p.pixel;
      run.dh = dh;
      run.dw = dw;
      run.end = (joined ? p.kw - least : 1) * p.per;
      p.runs.push_back(run);
    }
  }
  if (!cutter.cut_together(p.runs, p.per)) {
    for (const FactorStrip& run : p.runs) cutter.cut({0, 0, run, run.dh == 0 && run.dw == 0});
  }
  bundle_singly(p);
  p.cost = cost_of(p, static_cast<double>(p.h * p.w), static_cast<double>(p.kh * p.kw));
}

/// Without padding, no window sees a product with what lies beside the image.
void plan_by_distance(const api::PatchCovariance& args, const Kernels& kernels, FactorPlan& p) {
  plan_distances(args, kernels, p.groups == 1 && !padded(args.geometry), p);
}

/// The same tile at `count` vertical distances from `first` on, for every tile of the run that
/// begins `dw` to the side and has `taps` taps.
void add_bundles(FactorPlan& p, Cutter& cutter, std::int64_t first, int count, std::int64_t dw,
                 std::int64_t taps) {
  Run run{0, 0, {}, false};
  run.strip.offset = first * p.row + dw * p.pixel;
  run.strip.dh = first;
  run.strip.dw = dw;
  run.strip.end = taps * p.per;
  const auto before = static_cast<std::ptrdiff_t>(p.items.size());
  cutter.cut(run);
  p.tiles.assign(p.items.begin() + before, p.items.end());
  p.items.resize(static_cast<std::size_t>(before));
  for (const FactorItem& tile : p.tiles) {
    p.bundles.push_back({static_cast<int>(p.items.size()), count, dw < 0});
    for (int k = 0; k < count; ++k) {
      p.items.push_back(tile);
      p.items.back().strips[0].dh += k;
      p.items.back().strips[0].offset += k * p.row;
    }
  }
}

/// By distance, the largest vertical cell by pairs of rows.
void plan_by_row_pairs(const api::PatchCovariance& args, const Kernels& kernels, FactorPlan& p) {
  plan_distances(args, kernels, false, p);
  const api::ConvGeometry& g = args.geometry;
  const auto height = [&](std::int64_t cell) {
    const auto i = static_cast<std::size_t>(cell);
    return p.vertical.edges[i + 1] - p.vertical.edges[i];
  };
  std::int64_t core = 0;
  for (std::int64_t cell = 1; cell < p.vertical.cells(); ++cell) {
    if (height(cell) > height(core)) core = cell;
  }
  p.cost = HUGE_VAL;
  if (p.kh != 3 || g.dilation_h != 1 || g.dilation_w != 1 || height(core) < 4) return;
  p.core = core;
  p.pairs = height(core) / 2;
  const std::int64_t end = p.vertical.edges[static_cast<std::size_t>(core)] + 2 * p.pairs;
  p.vertical = cut_axis(p.h, p.kh, 1, g.pad_top, g.out_h(p.h, p.kh), {end});
  set_steps(p, 1, 1);
  p.items.clear();
  p.bundles.clear();
  Cutter cutter(kernels, p);
  const std::int64_t taps = is_joined(p) ? p.kw : 1;  // of a run
  for (std::int64_t dw = 0; dw < p.kw; dw += taps) add_bundles(p, cutter, 0, 3, dw, taps);
  const std::int64_t left = std::min(taps, p.kw - 1);
  for (std::int64_t dw = 1 - p.kw; dw < 0; dw += left) add_bundles(p, cutter, 1, 2, dw, left);
  const auto pixels = static_cast<double>(p.pairs * p.w);  // pairs of pixels
  p.cost =
      cost_of(p, static_cast<double>(p.h * p.w) - 2.0 * pixels, static_cast<double>(p.kh * p.kw));
  for (const FactorBundle& bundle : p.bundles) {
    const FactorItem& item = p.items[static_cast<std::size_t>(bundle.first)];
    p.cost += item.rows * item.vectors * (bundle.left ? 3.0 : 4.0) * pixels;
  }
  p.cost += 2.0 * static_cast<double>(kPairRows * p.pairs * p.columns * p.per) / kernels.lanes;
}

/// A loop that ends takes as long as a pixel or two. What is read directly has few rows per tile,
/// which wait for loads: those of a list would be more.
void list_pixels(FactorPlan& p, std::int64_t rows, std::int64_t columns) {
  constexpr std::int64_t kShortRow = 64, kMostElements = std::int64_t{1} << 31;  // an int's
  p.pixels.clear();
  p.listed = 1;
  if (p.direct || columns >= kShortRow || p.image * api::kSampleBlock >= kMostElements) return;
  while (p.listed < api::kSampleBlock && p.listed * rows * columns < kShortRow) p.listed *= 2;
  for (std::int64_t n = 0; n < p.listed; ++n) {
    for (std::int64_t i = 0; i < rows; ++i) {
      for (std::int64_t j = 0; j < columns; ++j)
        p.pixels.push_back(static_cast<int>(n * p.image + i * p.row + j * p.pixel));
    }
  }
}

void plan_by_pairs(const api::PatchCovariance& args, const Kernels& kernels, FactorPlan& p) {
  const api::ConvGeometry& g = args.geometry;
  const std::int64_t out_h = g.out_h(p.h, p.kh), out_w = g.out_w(p.w, p.kw);
  p.by_distance = false;
  p.core = -1;
  p.pairs = 0;
  p.direct = !padded(g) && (p.kw == 1 || p.groups == 1);
  p.top = g.pad_top;
  p.left = g.pad_left;
  p.rows = (out_h - 1) * g.stride_h + (p.kh - 1) * g.dilation_h + 1;
  p.columns = (out_w - 1) * g.stride_w + (p.kw - 1) * g.dilation_w + 1;
  p.lead = 0;
  set_steps(p, g.stride_h, g.stride_w);
  list_pixels(p, out_h, out_w);
  one_cell(out_h, p.vertical);
  one_cell(out_w, p.horizontal);
  p.items.clear();
  Cutter cutter(kernels, p);
  const bool joined = is_joined(p);
  const std::int64_t column_step = p.pixel / g.stride_w * g.dilation_w;
  const std::int64_t row_step = p.row / g.stride_h * g.dilation_h;
  // Columns of taps (r, s ..): all to the end of the kernel row, or one.
  const auto run_of = [&](std::int64_t r, std::int64_t s) {
    FactorStrip strip;
    strip.offset = r * row_step + s * column_step;
    strip.column = (r * p.kw + s) * p.per;
    strip.end = (joined ? p.kw - s : 1) * p.per;
    return strip;
  };
  for (std::int64_t t = 0; t < p.kh * p.kw; ++t) {
    const std::int64_t r = t / p.kw, s = t % p.kw;
    for (std::int64_t other = r; other < p.kh; ++other) {
      const std::int64_t first = other == r ? s : 0;
      for (std::int64_t c = first; c < (joined ? first + 1 : p.kw); ++c) {
        cutter.cut(
            {r * row_step + s * column_step, t * p.per, run_of(other, c), other == r && c == s});
      }
    }
  }
  bundle_singly(p);
  p.cost = cost_of(p, static_cast<double>(out_h * out_w), 1.0);
}

/// The elements of an item that reach into the image from some of these columns: the others meet
/// its padding only, where x is 0. Without padding, from all of them: else no window has such a
/// product.
FactorSpan span_of(const FactorPlan& p, const FactorItem& item, Range columns, std::int64_t lanes) {
  const FactorStrip& strip = item.strips[0];
  if (!p.by_distance || item.strip_count != 1) return {0, item.vectors};
  const std::int64_t dw = strip.dw * p.dilation_w, width = item.vectors * lanes;
  if (p.direct) columns = {columns.end - 1, columns.begin + 1};
  const std::int64_t first = (1 - columns.end - dw) * p.per - strip.begin;
  const std::int64_t end = (p.w - columns.begin - dw) * p.per - strip.begin;
  const Range inside{std::max<std::int64_t>(0, first), std::min(end, strip.end - strip.begin)};
  if (inside.begin >= inside.end) return {0, 0};
  const std::int64_t vectors = (inside.end - inside.begin + lanes - 1) / lanes;
  return {std::min(inside.begin, width - vectors * lanes), static_cast<int>(vectors)};
}

/// One pair of planes after the other: tiles find them in the caches.
void sort_by_planes(FactorPlan& p) {
  const auto planes = [&](const FactorBundle& bundle) {
    const FactorItem& item = p.items[static_cast<std::size_t>(bundle.first)];
    return std::pair{item.row / p.width % p.planes(), item.strips[0].begin / p.width};
  };
  if (p.planes() > 1)
    std::stable_sort(p.bundles.begin(), p.bundles.end(),
                     [&](const auto& a, const auto& b) { return planes(a) < planes(b); });
}

void find_spans(FactorPlan& p, std::int64_t lanes) {
  p.spans.clear();
  for (const FactorItem& item : p.items) {
    for (std::size_t i = 1; i < p.horizontal.edges.size(); ++i)
      p.spans.push_back(
          span_of(p, item, {p.horizontal.edges[i - 1], p.horizontal.edges[i]}, lanes));
  }
}

}  // namespace

FactorAxis cut_axis(std::int64_t size, std::int64_t taps, std::int64_t dilation, std::int64_t pad,
                    std::int64_t count, std::initializer_list<std::int64_t> more) {
  FactorAxis axis{more, {}, {}};
  const auto edge = [&](std::int64_t r, std::int64_t end) {
    return std::clamp<std::int64_t>(r * dilation - pad + end, 0, size);
  };
  for (std::int64_t r = 0; r < taps; ++r) {
    axis.edges.push_back(edge(r, 0));
    axis.edges.push_back(edge(r, count));
  }
  std::sort(axis.edges.begin(), axis.edges.end());
  axis.edges.erase(std::unique(axis.edges.begin(), axis.edges.end()), axis.edges.end());
  if (axis.edges.size() == 1) axis.edges.push_back(axis.edges[0]);  // no window sees a pixel
  for (std::int64_t r = 0; r < taps; ++r) {
    axis.first.push_back(axis.cell_at(edge(r, 0)));
    axis.last.push_back(std::max(axis.cell_at(edge(r, 0)), axis.cell_at(edge(r, count))));
  }
  return axis;
}

std::int64_t FactorAxis::cell_at(std::int64_t edge) const {
  return std::lower_bound(edges.begin(), edges.end(), edge) - edges.begin();
}

std::int64_t FactorPlan::all_rows() const {
  return rows + kPairRows * pairs;
}

void make_factor_plan(const api::PatchCovariance& args, const Kernels& kernels, FactorPlan& plan) {
  const core::Shape& x = args.x.shape();
  const api::ConvGeometry& g = args.geometry;
  plan.n = x[0], plan.h = x[1], plan.w = x[2], plan.channels = x[3];
  plan.groups = g.groups;
  plan.per = x[3] / g.groups;
  plan.kh = args.kh, plan.kw = args.kw;
  plan.dilation_w = g.dilation_w;
  plan.length = args.length();
  plan.positions = g.out_h(plan.h, plan.kh) * g.out_w(plan.w, plan.kw);
  using Way = void (*)(const api::PatchCovariance&, const Kernels&, FactorPlan&);
  Way best = plan_by_pairs;
  double least = HUGE_VAL;
  const bool by_distance = g.stride_h == 1 && g.stride_w == 1 && plan.kh * plan.kw > 1;
  for (const Way way : {plan_by_row_pairs, plan_by_distance, plan_by_pairs}) {
    if (way != plan_by_pairs && !by_distance) continue;
    way(args, kernels, plan);
    if (plan.cost < least) {
      least = plan.cost;
      best = way;
    }
  }
  if (best != plan_by_pairs) best(args, kernels, plan);
  sort_by_planes(plan);
  find_spans(plan, kernels.lanes);
}

}  // namespace isaribi::simd
