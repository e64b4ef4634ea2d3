// SPDX-License-Identifier: MIT
#include "backends/kokkos/gather.hpp"

#include "backends/kokkos/matrix.hpp"
#include "backends/kokkos/patch.hpp"

namespace isaribi::kokkos {
namespace {

/// panels[group, panel, tap h, tap w, source channel, column], 0 beyond out_channels.
template <typename T>
T* pack_weights(Queue& queue, const char* label, const Gather<T>& g, Index panels) {
  constexpr Index kColumns = Tile<T>::kColumns;
  const Index rows = g.groups * panels * g.h.taps * g.w.taps * g.source_channels;
  T* packed = queue.workspace.take<T>(rows * kColumns);
  const Gather<T> p = g;
  for_rows(
      queue, label, rows, kColumns, KOKKOS_LAMBDA(Index row, Index begin, Index end) {
        Index rest = row;
        const Index channel = rest % p.source_channels;
        rest /= p.source_channels;
        const Index s = rest % p.w.taps;
        rest /= p.w.taps;
        const Index r = rest % p.h.taps;
        rest /= p.h.taps;
        const Index panel = rest % panels, group = rest / panels;
        const T* from = p.weights + group * p.weight_group +
                        (p.h.tap + r * p.h.tap_step) * p.weight_h +
                        (p.w.tap + s * p.w.tap_step) * p.weight_w + channel * p.weight_source;
        for (Index j = begin; j < end; ++j) {
          const Index column = panel * kColumns + j;
          packed[row * kColumns + j] = column < p.out_channels ? from[column * p.weight_out] : T(0);
        }
      });
  return packed;
}

template <typename T>
struct GatherKernel {
  static constexpr int kColumns = Tile<T>::kColumns;
  Gather<T> g;
  Tile<T> tile;
  const T* packed;
  T* patches;        // one per worker, or nullptr when the source is read in place
  Index patch_size;  // elements of one
  Index block_rows;  // output rows per work item
  Index blocks, panels, items;
  Reduction reduction;

  KOKKOS_INLINE_FUNCTION void operator()(const Team& team) const {
    for (Index item = team.league_rank(); item < items; item += team.league_size()) {
      const Index image = item / blocks, begin = item % blocks * block_rows;
      const Index end = Kokkos::min(begin + block_rows, g.h.count);
      const Index channels = g.groups * g.source_channels;
      const T* source = g.source + image * g.h.source * g.w.source * channels;
      Index columns = g.w.source;
      if (patches != nullptr) {
        T* patch = patches + team.league_rank() * patch_size;
        columns = g.w.span(0, g.w.count);
        team.team_barrier();  // the tiles of the previous item are done with the patch
        copy_patch(team, source, g.h.source, g.w.source, channels, g.h.first(begin), g.w.first(0),
                   g.h.span(begin, end), columns, patch);
        team.team_barrier();
        source = patch;
      } else {
        source += (g.h.first(begin) * columns + g.w.first(0)) * channels;
      }
      const Index tiles = pixel_tiles(end - begin);
      Kokkos::parallel_for(Kokkos::TeamThreadRange(team, g.groups * panels * tiles), [&](Index i) {
        run_tile(source, columns, image, begin, end, i / tiles, i % tiles * tile.rows);
      });
    }
  }

  /// Tiles of `rows` output rows.
  KOKKOS_INLINE_FUNCTION Index pixel_tiles(Index rows) const {
    return (rows * g.w.count + tile.rows - 1) / tile.rows;
  }

  KOKKOS_INLINE_FUNCTION void run_tile(const T* source, Index columns, Index image, Index begin,
                                       Index end, Index group_panel, Index first) const {
    const Index group = group_panel / panels, panel = group_panel % panels;
    const Index channels = g.groups * g.source_channels, out_channels = g.groups * g.out_channels;
    const Index channel = group * g.out_channels + panel * kColumns;
    const Index used = Kokkos::min<Index>(kColumns, g.out_channels - panel * kColumns);
    const T* a[Tile<T>::kMaxRows];
    T* out[Tile<T>::kMaxRows];
    T acc[Tile<T>::kMaxRows * kColumns];
    T start[kColumns] = {};
    for (Index j = 0; g.bias != nullptr && j < used; ++j) start[j] = g.bias[channel + j];
    Index row = first / g.w.count, column = first % g.w.count;
    const int pixels =
        static_cast<int>(Kokkos::min<Index>(tile.rows, (end - begin) * g.w.count - first));
    for (int m = 0; m < tile.rows; ++m) {
      a[m] = source + (row * g.h.step * columns + column * g.w.step) * channels +
             group * g.source_channels;
      out[m] = g.out +
               ((image * g.h.extent + g.h.out + (begin + row) * g.h.out_step) * g.w.extent +
                g.w.out + column * g.w.out_step) *
                   out_channels +
               channel;
      for (int j = 0; j < kColumns; ++j) acc[m * kColumns + j] = start[j];
      if (m + 1 >= pixels) continue;  // rows beyond the last pixel repeat it
      if (++column == g.w.count) {
        column = 0;
        ++row;
      }
    }
    tile.run(a, packed + group_panel * g.h.taps * g.w.taps * g.source_channels * kColumns,
             reduction, acc);
    for (int m = 0; m < pixels; ++m) {
      if (used == kColumns) {
        store(out[m], acc + m * kColumns, kColumns);  // a constant trip count vectorises
      } else {
        store(out[m], acc + m * kColumns, used);
      }
    }
  }

  KOKKOS_INLINE_FUNCTION void store(T* out, const T* sum, Index used) const {
    if (g.relu) {
      for (Index j = 0; j < used; ++j) out[j] = sum[j] < T(0) ? T(0) : sum[j];
    } else {
      for (Index j = 0; j < used; ++j) out[j] = sum[j];
    }
  }
};

}  // namespace

template <typename T>
void gather(Queue& queue, const char* label, const Gather<T>& g) {
  if (g.images * g.h.count * g.w.count * g.out_channels * g.groups == 0) return;
  const Workspace::Frame frame(queue.workspace);
  const Index channels = g.groups * g.source_channels;
  GatherKernel<T> kernel;
  kernel.g = g;
  kernel.tile = Tile<T>::best();
  kernel.panels = panel_count(g.out_channels, Tile<T>::kColumns);
  kernel.packed = pack_weights(queue, label, g, kernel.panels);

  // As many output rows per work item as keep its patch in the L2 cache, and at least 4 items per
  // worker.
  const bool in_place = g.h.inside() && g.w.inside();
  const Index row_bytes =
      g.w.span(0, g.w.count) * channels * static_cast<Index>(sizeof(T)) * g.h.step;
  const Index fitting = std::max<Index>(1, kPatchBytes / std::max<Index>(row_bytes, 1));
  const Index wanted = std::max<Index>(1, g.images * g.h.count / (4 * queue.workers()));
  kernel.block_rows = std::min({g.h.count, fitting, wanted});
  kernel.blocks = (g.h.count + kernel.block_rows - 1) / kernel.block_rows;
  kernel.items = g.images * kernel.blocks;
  const Index workers = std::min(queue.workers(), kernel.items);
  kernel.patch_size =
      (g.h.span(0, kernel.block_rows) * g.w.span(0, g.w.count) * channels + 15) / 16 * 16;
  kernel.patches = in_place ? nullptr : queue.workspace.take<T>(workers * kernel.patch_size);

  const Index columns = in_place ? g.w.source : g.w.span(0, g.w.count);
  Reduction& r = kernel.reduction;
  const bool contiguous =
      g.groups == 1 && g.w.offset_step == 1;  // a row of taps is one run of channels
  r.n0 = g.h.taps;
  r.n1 = contiguous ? std::min<Index>(1, g.w.taps) : g.w.taps;
  r.n2 = contiguous ? g.w.taps * channels : g.source_channels;
  r.a0 = g.h.offset_step * columns * channels;
  r.a1 = g.w.offset_step * channels;
  r.a2 = 1;
  r.b2 = Tile<T>::kColumns;
  r.b1 = r.n2 * r.b2;
  r.b0 = g.w.taps * g.source_channels * r.b2;
  Kokkos::TeamPolicy<Space> policy(queue.space, static_cast<int>(workers), Kokkos::AUTO);
  if constexpr (kHost)
    policy = Kokkos::TeamPolicy<Space>(queue.space, static_cast<int>(workers), 1);
  Kokkos::parallel_for(label, policy, kernel);
}

template void gather<float>(Queue&, const char*, const Gather<float>&);
template void gather<double>(Queue&, const char*, const Gather<double>&);

}  // namespace isaribi::kokkos
