// SPDX-License-Identifier: MIT
// The second moment of patches on the register tile. A tile is some channels of one tap times
// kColumns neighbouring elements of another, summed over positions. For stride 1 the products
// depend on the distance of the taps and on the pixel only, so each distance is summed once, in the
// cells into which the windows of all taps cut the image; otherwise each pair of taps is summed.
// Sums of a block of samples are of type T, everything beyond is f64, in a fixed order.
#include "backends/kokkos/matrix.hpp"
#include "backends/kokkos/patch.hpp"
#include "backends/kokkos/patches.hpp"

namespace isaribi::kokkos {
namespace {

constexpr const char* kLabel = "patch_covariance";
constexpr Index kPartialBytes = Index{64} << 20;  // sums of sample blocks held at once
constexpr int kMaxTaps = 16;                      // along one axis, by distance

/// An axis cut at the edges of the windows [r dilation - pad, + count) of its taps.
struct Axis {
  Index cells = 1;
  Index edges[2 * kMaxTaps] = {};  // cell i is [edges[i], edges[i + 1])
  Index first[kMaxTaps] = {}, last[kMaxTaps] = {};

  static Axis whole(Index size) {
    Axis axis;
    axis.edges[1] = size;
    axis.last[0] = 1;
    return axis;
  }
  static Axis of_windows(Index size, Index taps, Index dilation, Index pad, Index count) {
    Axis axis;
    const auto edge = [&](Index r, Index end) {
      return std::clamp<Index>(r * dilation - pad + end, 0, size);
    };
    Index* end = axis.edges;
    for (Index r = 0; r < taps; ++r) {
      *end++ = edge(r, 0);
      *end++ = edge(r, count);
    }
    std::sort(axis.edges, end);
    end = std::unique(axis.edges, end);
    axis.cells = end - axis.edges - 1;
    for (Index r = 0; r < taps; ++r) {
      axis.first[r] = std::lower_bound(axis.edges, end, edge(r, 0)) - axis.edges;
      axis.last[r] = std::lower_bound(axis.edges, end, edge(r, count)) - axis.edges;
    }
    return axis;
  }
};

/// How the factor is made of tiles; item = ((group, run, panel), row tile).
struct Layout {
  PatchExtents e;
  bool by_distance, joined;        // joined: the taps of a kernel row are one run
  Index spread;                    // horizontal tap distances, or taps
  Index runs, panels;              // per group, of kColumns elements per run
  Index row_tiles, tile_rows;      // of the channels of one tap
  Index rows, columns, top, left;  // the padded image
  Axis up, across;

  KOKKOS_INLINE_FUNCTION Index items() const { return e.g.groups * runs * panels * row_tiles; }
  KOKKOS_INLINE_FUNCTION Index cells() const { return up.cells * across.cells; }
  /// Multiply-adds, but for a factor.
  double cost() const {
    const double pixels =
        by_distance ? static_cast<double>(e.h * e.w) : 0.5 * static_cast<double>(e.p * e.q);
    return pixels * static_cast<double>(runs * panels);
  }
};

Layout layout_of(const PatchExtents& e, bool by_distance, Index tile_rows, Index columns) {
  Layout l{
      e,  by_distance, e.g.dilation_w == 1 && e.g.groups == 1, 0, 0, 0, 0, tile_rows, 0, 0, 0, 0,
      {}, {}};
  l.spread = by_distance ? 2 * e.kw - 1 : e.kw;
  const Index parts = l.joined ? 1 : l.spread, length = l.joined ? l.spread * e.per : e.per;
  l.runs = (by_distance ? e.kh : e.kh * e.kw * e.kh) * parts;
  l.panels = panel_count(length, columns);
  l.row_tiles = panel_count(e.per, tile_rows);
  if (by_distance) {
    l.rows = e.h + (e.kh - 1) * e.g.dilation_h;
    l.left = -(e.kw - 1) * e.g.dilation_w;
    l.columns = e.w - 2 * l.left;
    l.up = Axis::of_windows(e.h, e.kh, e.g.dilation_h, e.g.pad_top, e.p);
    l.across = Axis::of_windows(e.w, e.kw, e.g.dilation_w, e.g.pad_left, e.q);
  } else {
    l.top = -e.g.pad_top;
    l.left = -e.g.pad_left;
    l.rows = (e.p - 1) * e.g.stride_h + (e.kh - 1) * e.g.dilation_h + 1;
    l.columns = (e.q - 1) * e.g.stride_w + (e.kw - 1) * e.g.dilation_w + 1;
    l.up = Axis::whole(e.p);
    l.across = Axis::whole(e.q);
  }
  return l;
}

template <typename T>
struct CovarianceKernel {
  static constexpr int kColumns = Tile<T>::kColumns;
  Layout l;
  Tile<T> tile;
  const T* x;
  T* sums = nullptr;     // [blocks, items, cells, tile rows, kColumns]
  T* scratch = nullptr;  // per worker: padded images
  Index image_size = 0, scratch_size = 0, images = 1;
  Index wave = 1, workers = 1;  // blocks held at once, and who share them
  Index first_block = 0, parts = 1, part_items = 0, work_items = 0;

  KOKKOS_INLINE_FUNCTION Index block_size() const {
    return l.items() * l.cells() * l.tile_rows * kColumns;
  }

  KOKKOS_INLINE_FUNCTION void operator()(const Team& team) const {
    const PatchExtents& e = l.e;
    T* padded = scratch + team.league_rank() * scratch_size;
    for (Index work = team.league_rank(); work < work_items; work += team.league_size()) {
      const Index block = work / parts, begin = work % parts * part_items;
      const Index end = Kokkos::min(begin + part_items, l.items());
      const Index first = (first_block + block) * api::kSampleBlock;
      const Index last = Kokkos::min(first + api::kSampleBlock, e.n);
      for (Index sample = first; sample < last; sample += images) {
        const Index count = Kokkos::min(images, last - sample);
        team.team_barrier();  // the tiles before are done with the scratch
        for (Index i = 0; i < count; ++i) {
          copy_patch(team, x + (sample + i) * e.h * e.w * e.channels, e.h, e.w, e.channels, l.top,
                     l.left, l.rows, l.columns, padded + i * image_size);
        }
        team.team_barrier();
        Kokkos::parallel_for(Kokkos::TeamThreadRange(team, begin, end), [&](Index item) {
          add_item(padded, count, item,
                   sums + (block * l.items() + item) * l.cells() * tile.rows * kColumns);
        });
      }
    }
  }

  /// Adds `count` images to the cells of one item.
  KOKKOS_INLINE_FUNCTION void add_item(const T* padded, Index count, Index item, T* acc) const {
    const PatchExtents& e = l.e;
    const Index row_tile = item % l.row_tiles, panel = item / l.row_tiles % l.panels;
    const Index run = item / l.row_tiles / l.panels % l.runs;
    const Index group = item / l.row_tiles / l.panels / l.runs;
    const Index row_step = l.columns * e.channels, tap_row = e.g.dilation_h * row_step,
                tap_column = e.g.dilation_w * e.channels;
    const Index apart = l.joined ? 0 : run % l.spread, rest = l.joined ? run : run / l.spread;
    // Elements before this one of the run lie in the lower triangle.
    const Index before = row_tile * tile.rows;  // .. of the tap itself
    Index own, other, useless;
    if (l.by_distance) {
      own = -l.left * e.channels;
      other = rest * tap_row + apart * tap_column;
      useless = rest == 0 ? (e.kw - 1 - apart) * e.per + before : 0;
    } else {
      const Index tap = rest / e.kh, r = tap / e.kw, s = tap % e.kw;
      if (rest % e.kh < r) return;
      own = r * tap_row + s * tap_column;
      other = rest % e.kh * tap_row + apart * tap_column;
      useless = rest % e.kh == r ? (s - apart) * e.per + before : 0;
    }
    if ((panel + 1) * kColumns <= useless) return;
    const T* left = padded + own + group * e.per + before;
    const T* right = padded + other + group * e.per + panel * kColumns;
    const Index pixel = (l.by_distance ? 1 : e.g.stride_w) * e.channels;
    const Index row = (l.by_distance ? 1 : e.g.stride_h) * row_step;
    for (Index y = 0; y < l.up.cells; ++y) {
      for (Index z = 0; z < l.across.cells; ++z, acc += tile.rows * kColumns) {
        Reduction r;
        r.n0 = count, r.n1 = l.up.edges[y + 1] - l.up.edges[y];
        r.n2 = l.across.edges[z + 1] - l.across.edges[z];
        r.a0 = image_size, r.a1 = row, r.a2 = pixel;
        if (r.n1 == 1 && r.n2 == 1) {  // the longest loop is the innermost
          r.n2 = count, r.n0 = 1, r.a2 = image_size;
        }
        r.b0 = r.a0, r.b1 = r.a1, r.b2 = r.a2;
        const Index at = l.up.edges[y] * row + l.across.edges[z] * pixel;
        const T* a[Tile<T>::kMaxRows];
        for (Index m = 0; m < tile.rows; ++m)  // rows beyond the last channel read the last one
          a[m] = left + at + Kokkos::min(m, e.per - 1 - before);
        tile.run(a, right + at, r, acc);
      }
    }
  }
};

/// Where the products of one element of a patch with those of a later tap are.
template <typename T>
struct Places {
  static constexpr Index kColumns = Tile<T>::kColumns;
  const Layout& l;
  Index group, r, s, channel;  // of the element

  /// Offset of the first cell of element `lane` of a run in the sums of a block.
  KOKKOS_INLINE_FUNCTION Index cell(Index run, Index lane) const {
    const Index panel = (group * l.runs + run) * l.panels + lane / kColumns;
    const Index item = panel * l.row_tiles + channel / l.tile_rows;
    return (item * l.cells() * l.tile_rows + channel % l.tile_rows) * kColumns + lane % kColumns;
  }
  /// The run that holds tap (r', s') and the element of it that is the tap's first channel.
  KOKKOS_INLINE_FUNCTION Index run(Index other_r, Index other_s, Index& lane) const {
    const Index step = l.by_distance ? other_s - s + l.e.kw - 1 : other_s;
    const Index rest = l.by_distance ? other_r - r : (r * l.e.kw + s) * l.e.kh + other_r;
    lane = l.joined ? step * l.e.per : 0;
    return l.joined ? rest : rest * l.spread + step;
  }
  /// sums[k] = element k behind `cell` over the cells in the window of this tap and over blocks.
  KOKKOS_INLINE_FUNCTION void window(const T* cell, Index elements, Index blocks, Index block_size,
                                     double* sums) const {
    const Index tap_r = l.by_distance ? r : 0, tap_s = l.by_distance ? s : 0;
    const Index size = l.tile_rows * kColumns;
    for (Index k = 0; k < elements; ++k) sums[k] = 0;
    for (Index b = 0; b < blocks; ++b, cell += block_size) {
      for (Index y = l.up.first[tap_r]; y < l.up.last[tap_r]; ++y) {
        for (Index z = l.across.first[tap_s]; z < l.across.last[tap_s]; ++z) {
          const T* part = cell + (y * l.across.cells + z) * size;
          for (Index k = 0; k < elements; ++k) sums[k] += static_cast<double>(part[k]);
        }
      }
    }
  }
};

/// total[group, i, j] (+)= the sums of `count` blocks, for i <= j.
template <typename T>
void add_blocks(const Queue& queue, const Layout& l, const T* sums, Index count, bool first,
                double* total) {
  const Index length = l.e.length, summed = length - (l.e.bias ? 1 : 0), per = l.e.per;
  const Index block_size = l.items() * l.cells() * l.tile_rows * Tile<T>::kColumns;
  for_rows(
      queue, kLabel, l.e.g.groups * length, length,
      KOKKOS_LAMBDA(Index row, Index begin, Index end) {
        const Index i = row % length, tap = i / per;
        const Places<T> places{l, row / length, tap / l.e.kw, tap % l.e.kw, i % per};
        const Index stop = Kokkos::min(end, summed);
        for (Index j = Kokkos::max(begin, i); j < stop;) {
          const Index other = j / per, next = Kokkos::min(stop, (other + 1) * per);
          Index lane;
          const Index run = places.run(other / l.e.kw, other % l.e.kw, lane);
          lane += j % per;
          while (j < next) {
            constexpr Index kColumns = Places<T>::kColumns;
            const Index elements = Kokkos::min(next - j, kColumns - lane % kColumns);
            double part[kColumns];
            places.window(sums + places.cell(run, lane), elements, count, block_size, part);
            double* to = total + row * length + j;
            for (Index k = 0; k < elements; ++k) to[k] = (first ? 0.0 : to[k]) + part[k];
            j += elements;
            lane += elements;
          }
        }
      });
}

/// total[group, i, length - 1] = sum over samples and positions of element i of the patch.
template <typename T>
void add_bias_column(Queue& queue, const PatchExtents& e, const T* x, double* total) {
  const Workspace::Frame frame(queue.workspace);
  const Index all = e.g.groups * e.length, length = e.length, samples = e.n;
  double* sums = queue.workspace.take<double>(samples * all);
  patch_sums(queue, e, x, 1.0, sums);
  for_elements(
      queue, kLabel, all, KOKKOS_LAMBDA(Index begin, Index end) {
        for (Index i = begin; i < end; ++i) {
          double sum = 0;
          for (Index n = 0; n < samples; ++n) sum += sums[n * all + i];
          total[i * length + length - 1] = sum;
        }
      });
}

/// The cheaper layout, and what its kernel needs of scratch memory.
template <typename T>
CovarianceKernel<T> make_kernel(Queue& queue, const PatchExtents& e, const T* x) {
  constexpr Index kColumns = Tile<T>::kColumns, kBytes = sizeof(T);
  const Tile<T> tile = Tile<T>::best();
  CovarianceKernel<T> k{layout_of(e, false, tile.rows, kColumns), tile, x};
  if (e.g.stride_h == 1 && e.g.stride_w == 1 && e.kh <= kMaxTaps && e.kw <= kMaxTaps) {
    const Layout other = layout_of(e, true, tile.rows, kColumns);
    if (other.cost() < k.l.cost()) k.l = other;
  }
  k.image_size = k.l.rows * k.l.columns * e.channels;
  k.images = std::clamp<Index>(kPatchBytes / std::max<Index>(1, k.image_size * kBytes), 1,
                               api::kSampleBlock);
  k.scratch_size = k.images * k.image_size + kColumns;
  const Index blocks = (e.n + api::kSampleBlock - 1) / api::kSampleBlock;
  k.wave = std::clamp<Index>(kPartialBytes / std::max<Index>(1, k.block_size() * kBytes), 1,
                             std::max<Index>(blocks, 1));
  // Items are split over workers when there are fewer blocks than workers; that changes no sum.
  const Index items = std::max<Index>(1, k.l.items());
  k.parts = std::clamp<Index>((queue.workers() + k.wave - 1) / k.wave, 1, items);
  k.part_items = (items + k.parts - 1) / k.parts;
  k.workers = std::min(queue.workers(), k.wave * k.parts);
  k.sums = queue.workspace.take<T>(k.wave * k.block_size());
  k.scratch = queue.workspace.take<T>(k.workers * k.scratch_size);
  return k;
}

/// total[group, i, j] = the sums of all blocks, for i <= j, but for the column of the bias.
template <typename T>
void sum_blocks(Queue& queue, const PatchExtents& e, const T* x, double* total) {
  const Workspace::Frame frame(queue.workspace);
  CovarianceKernel<T> kernel = make_kernel(queue, e, x);
  const Index blocks = (e.n + api::kSampleBlock - 1) / api::kSampleBlock;
  T* sums = kernel.sums;
  for (Index first = 0; first == 0 || first < blocks; first += kernel.wave) {
    const Index count = std::min(kernel.wave, blocks - first);
    kernel.first_block = first;
    kernel.work_items = count * kernel.parts;
    for_elements(
        queue, kLabel, count * kernel.block_size(), KOKKOS_LAMBDA(Index begin, Index end) {
          for (Index i = begin; i < end; ++i) sums[i] = T(0);
        });
    if (count > 0) {
      const auto workers = static_cast<int>(kernel.workers);
      Kokkos::TeamPolicy<Space> policy(queue.space, workers, Kokkos::AUTO);
      if constexpr (kHost) policy = Kokkos::TeamPolicy<Space>(queue.space, workers, 1);
      Kokkos::parallel_for(kLabel, policy, kernel);
    }
    add_blocks(queue, kernel.l, sums, count, first == 0, total);
  }
}

}  // namespace

template <typename T, typename Sum>
void patch_covariance(Queue& queue, const PatchExtents& e, const T* x, double scale, Sum* a,
                      bool packed, bool accumulate) {
  const Index length = e.length, triangle = length * (length + 1) / 2;
  if (length == 0) return;
  const Workspace::Frame frame(queue.workspace);
  double* total = queue.workspace.take<double>(e.g.groups * length * length);
  sum_blocks(queue, e, x, total);
  if (e.bias) add_bias_column(queue, e, x, total);
  for_rows(
      queue, kLabel, e.g.groups * length, length, KOKKOS_LAMBDA(Index row, Index begin, Index end) {
        const Index i = row % length, corner = row - i;
        Sum* to = a + (packed ? row / length * triangle + i * (i + 1) / 2 : row * length);
        const Index stop = packed ? Kokkos::min(end, i + 1) : end;
        for (Index j = begin; j < stop; ++j) {
          const double sum = i <= j ? total[row * length + j] : total[(corner + j) * length + i];
          Sum& out = to[j];
          out = static_cast<Sum>((accumulate ? static_cast<double>(out) : 0.0) + scale * sum);
        }
      });
}

template void patch_covariance(Queue&, const PatchExtents&, const float*, double, float*, bool,
                               bool);
template void patch_covariance(Queue&, const PatchExtents&, const float*, double, double*, bool,
                               bool);
template void patch_covariance(Queue&, const PatchExtents&, const double*, double, double*, bool,
                               bool);

}  // namespace isaribi::kokkos
