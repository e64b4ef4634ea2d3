// SPDX-License-Identifier: MIT
// Gradient of convolution weights: for each block of samples a product of x patches, transposed,
// with dy. A row of the register tile is one weight (kernel position and input channel), a column
// one output channel, and the reduction runs over the output pixels. Every weight is summed by one
// thread in a fixed order.
#include "backends/kokkos/conv_kernels.hpp"
#include "backends/kokkos/matrix.hpp"
#include "backends/kokkos/patch.hpp"

namespace isaribi::kokkos {
namespace {

constexpr Index kPartialBytes = Index{64} << 20;  // sums of sample blocks held at once

template <typename T>
struct WeightsKernel {
  static constexpr int kColumns = Tile<T>::kColumns;
  ConvExtents e;
  Tile<T> tile;
  const T* x;
  const T* dy;
  T* sums;     // [blocks, groups, row tiles, panels, tile rows, kColumns]
  T* scratch;  // per worker: patch of x, then rows of dy in whole panels
  Index patch_size, scratch_size;
  bool patched, padded;  // whether x, dy go through scratch
  Index first_block, parts, row_tiles, part_tiles, panels, block_rows, items;

  KOKKOS_INLINE_FUNCTION void operator()(const Team& team) const {
    for (Index item = team.league_rank(); item < items; item += team.league_size()) {
      const Index block = item / parts, part = item % parts;
      const Index begin = part * part_tiles, end = Kokkos::min(begin + part_tiles, row_tiles);
      const Index first = (first_block + block) * api::kSampleBlock;
      const Index last = Kokkos::min(first + api::kSampleBlock, e.n);
      for (Index sample = first; sample < last; ++sample) {
        for (Index row = 0; row < e.p; row += block_rows) {
          add_rows(team, block, sample, row, Kokkos::min(row + block_rows, e.p), begin, end);
        }
      }
    }
  }

  /// Adds output rows [p0, p1) of one sample to the tiles [begin, end) of every group.
  KOKKOS_INLINE_FUNCTION void add_rows(const Team& team, Index block, Index sample, Index p0,
                                       Index p1, Index begin, Index end) const {
    const api::ConvGeometry& g = e.geometry;
    const Index groups = g.groups;
    const T* image = x + sample * e.h * e.w * e.i;
    const T* grad = dy + (sample * e.p + p0) * e.q * e.o;
    T* patch = scratch + team.league_rank() * scratch_size;
    T* wide = patch + patch_size;
    const Index top = p0 * g.stride_h - g.pad_top;
    Index columns = e.w, grad_pixel = e.o, group_step = e.o_group();
    team.team_barrier();  // the tiles of the previous rows are done with the scratch
    if (patched) {
      columns = (e.q - 1) * g.stride_w + (e.kw - 1) * g.dilation_w + 1;
      copy_patch(team, image, e.h, e.w, e.i, top, -g.pad_left,
                 (p1 - p0 - 1) * g.stride_h + (e.kh - 1) * g.dilation_h + 1, columns, patch);
      image = patch;
    } else {
      image += (top * columns - g.pad_left) * e.i;
    }
    if (padded) {
      group_step = panels * kColumns;
      grad_pixel = groups * group_step;
      widen(team, grad, (p1 - p0) * e.q, wide);
      grad = wide;
    }
    team.team_barrier();
    Reduction r;
    r.n0 = p1 - p0;
    r.n2 = e.q;
    r.a0 = g.stride_h * columns * e.i;
    r.a2 = g.stride_w * e.i;
    r.b0 = e.q * grad_pixel;
    r.b2 = grad_pixel;
    const Index tiles = end - begin;
    Kokkos::parallel_for(Kokkos::TeamThreadRange(team, groups * panels * tiles), [&](Index i) {
      const Index t = begin + i % tiles, panel = i / tiles % panels, group = i / tiles / panels;
      const T* a[Tile<T>::kMaxRows];
      addresses(image + group * e.i_group(), columns, t * tile.rows, a);
      T* sum = sums +
               (((block * groups + group) * row_tiles + t) * panels + panel) * tile.rows * kColumns;
      tile.run(a, grad + group * group_step + panel * kColumns, r, sum);
    });
  }

  /// Where weights first, first + 1, .. (kernel row, kernel column, channel) find their x for the
  /// first output pixel.
  KOKKOS_INLINE_FUNCTION void addresses(const T* image, Index columns, Index first,
                                        const T** a) const {
    const Index channels = e.i_group();
    Index channel = first % channels, s = first / channels % e.kw, r = first / channels / e.kw;
    for (int m = 0; m < tile.rows; ++m) {
      a[m] =
          image + (r * e.geometry.dilation_h * columns + s * e.geometry.dilation_w) * e.i + channel;
      if (++channel < channels) continue;
      channel = 0;
      if (++s < e.kw) continue;
      s = 0;
      if (++r == e.kh) r = 0;  // rows beyond the last weight read something harmless
    }
  }

  /// dy with the channels of each group padded to whole panels.
  KOKKOS_INLINE_FUNCTION void widen(const Team& team, const T* grad, Index pixels, T* wide) const {
    const Index width = panels * kColumns, used = e.o_group();
    Kokkos::parallel_for(Kokkos::TeamThreadRange(team, pixels * e.geometry.groups), [&](Index i) {
      Kokkos::parallel_for(Kokkos::ThreadVectorRange(team, width), [&](Index j) {
        wide[i * width + j] = j < used ? grad[i * used + j] : T(0);
      });
    });
  }
};

}  // namespace

template <typename T, typename Sum>
void conv_weights(Queue& queue, const ConvExtents& e, const T* x, const T* dy, Sum* dw,
                  bool accumulate) {
  constexpr const char* kLabel = "conv_backward_weights";
  constexpr Index kColumns = Tile<T>::kColumns;
  const Workspace::Frame frame(queue.workspace);
  const api::ConvGeometry& g = e.geometry;
  const Index rows = e.kh * e.kw * e.i_group(), groups = g.groups;
  WeightsKernel<T> kernel;
  kernel.e = e;
  kernel.tile = Tile<T>::best();
  kernel.x = x;
  kernel.dy = dy;
  const Index tile_rows = kernel.tile.rows;
  const Index row_tiles = kernel.row_tiles = panel_count(rows, tile_rows);
  const Index panels = kernel.panels = panel_count(e.o_group(), kColumns);
  kernel.patched = g.pad_top > 0 || g.pad_left > 0 || g.pad_bottom > 0 || g.pad_right > 0;
  kernel.padded = e.o_group() % kColumns != 0;

  const Index columns = (e.q - 1) * g.stride_w + (e.kw - 1) * g.dilation_w + 1;
  const Index row_size = g.stride_h * columns * e.i + e.q * groups * panels * kColumns;
  kernel.block_rows =
      std::clamp<Index>(kPatchBytes / (row_size * static_cast<Index>(sizeof(T))), 1, e.p);
  const Index patch_rows = (kernel.block_rows - 1) * g.stride_h + (e.kh - 1) * g.dilation_h + 1;
  kernel.patch_size = kernel.patched ? (patch_rows * columns * e.i + 15) / 16 * 16 : 0;
  kernel.scratch_size = kernel.patch_size +
                        (kernel.padded ? kernel.block_rows * e.q * groups * panels * kColumns : 0);

  const Index blocks = (e.n + api::kSampleBlock - 1) / api::kSampleBlock;
  const Index sum_size = groups * row_tiles * panels * tile_rows * kColumns;
  const Index wave = std::clamp<Index>(kPartialBytes / (sum_size * static_cast<Index>(sizeof(T))),
                                       1, std::max<Index>(blocks, 1));
  T* sums = kernel.sums = queue.workspace.take<T>(wave * sum_size);
  double* total = queue.workspace.take<double>(e.o * rows);
  // Weights are split over workers when there are fewer blocks than workers; that changes no sum.
  kernel.parts = std::clamp<Index>((queue.workers() + wave - 1) / wave, 1, row_tiles);
  kernel.part_tiles = (row_tiles + kernel.parts - 1) / kernel.parts;
  const Index workers = std::min(queue.workers(), wave * kernel.parts);
  kernel.scratch = queue.workspace.take<T>(workers * kernel.scratch_size);

  for (Index first = 0; first == 0 || first < blocks; first += wave) {
    const Index count = std::min(wave, blocks - first);
    kernel.first_block = first;
    kernel.items = count * kernel.parts;
    for_elements(
        queue, kLabel, count * sum_size, KOKKOS_LAMBDA(Index begin, Index end) {
          for (Index i = begin; i < end; ++i) sums[i] = T(0);
        });
    if (count > 0 && e.p * e.q > 0) {
      Kokkos::TeamPolicy<Space> policy(queue.space, static_cast<int>(workers), Kokkos::AUTO);
      if constexpr (kHost)
        policy = Kokkos::TeamPolicy<Space>(queue.space, static_cast<int>(workers), 1);
      Kokkos::parallel_for(kLabel, policy, kernel);
    }
    const bool last = first + wave >= blocks;
    const Index out_group = e.o_group();
    for_rows(
        queue, kLabel, e.o, rows, KOKKOS_LAMBDA(Index o, Index begin, Index end) {
          const Index group = o / out_group, column = o % out_group;
          for (Index m = begin; m < end; ++m) {
            const Index tile = (group * row_tiles + m / tile_rows) * panels + column / kColumns;
            const T* sum = sums + (tile * tile_rows + m % tile_rows) * kColumns + column % kColumns;
            double value = first == 0 ? 0.0 : total[o * rows + m];
            for (Index block = 0; block < count; ++block)
              value += static_cast<double>(sum[block * sum_size]);
            total[o * rows + m] = value;
            if (last)
              dw[o * rows + m] = static_cast<Sum>(accumulate ? dw[o * rows + m] + value : value);
          }
        });
  }
}

template void conv_weights(Queue&, const ConvExtents&, const float*, const float*, float*, bool);
template void conv_weights(Queue&, const ConvExtents&, const float*, const float*, double*, bool);
template void conv_weights(Queue&, const ConvExtents&, const double*, const double*, double*, bool);

}  // namespace isaribi::kokkos
