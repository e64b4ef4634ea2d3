// SPDX-License-Identifier: MIT
#include "backends/kokkos/matrix.hpp"

namespace isaribi::kokkos {
namespace {

constexpr Index kChunk = 256;  // depth of one pass: a B panel of 32 KiB

/// One pass over a chunk of k for a block of row tiles and one column panel.
template <typename T>
struct MultiplyChunk {
  Product<T> p;
  PanelTile<T> tile;
  const T* a_panels;
  const T* b_panels;
  Index depth;  // of this chunk
  Index tiles_m, tiles_n, block;
  bool first, last;

  KOKKOS_INLINE_FUNCTION void operator()(Index item) const {
    const Index panel = item % tiles_n, begin = item / tiles_n * block;
    const Index end = Kokkos::min(begin + block, tiles_m);
    for (Index t = begin; t < end; ++t) {
      if (p.lower_only && (t + 1) * tile.rows <= panel * PanelTile<T>::kColumns) continue;
      run_tile(t, panel);
    }
  }

  KOKKOS_INLINE_FUNCTION void run_tile(Index t, Index panel) const {
    T acc[PanelTile<T>::kMaxRows * PanelTile<T>::kColumns];
    tile.multiply(a_panels + t * depth * tile.rows,
                  b_panels + panel * depth * PanelTile<T>::kColumns, depth, acc);
    const Index row0 = t * tile.rows, column0 = panel * PanelTile<T>::kColumns;
    const Index rows = Kokkos::min<Index>(tile.rows, p.m - row0);
    const Index columns = Kokkos::min<Index>(PanelTile<T>::kColumns, p.n - column0);
    T* c = p.c + row0 * p.c_m + column0 * p.c_n;
    const T* bias = last && p.bias != nullptr ? p.bias + column0 : nullptr;
    const T beta = first ? p.beta : T(1);
    if constexpr (kHost) {
      if (p.c_n == 1 && columns == PanelTile<T>::kColumns) {
        tile.host.store(acc, {c, p.c_m, rows, p.alpha, beta, bias, last && p.relu});
        return;
      }
    }
    for (Index m = 0; m < rows; ++m) {
      for (Index j = 0; j < columns; ++j) {
        T& to = c[m * p.c_m + j * p.c_n];
        T value = p.alpha * acc[m * PanelTile<T>::kColumns + j];
        if (beta != T(0)) value += beta * to;
        if (bias != nullptr) value += bias[j];
        if (last && p.relu) value = value < T(0) ? T(0) : value;
        to = value;
      }
    }
  }
};

}  // namespace

template <typename T>
void multiply(Queue& queue, const char* label, const Product<T>& p) {
  if (p.m == 0 || p.n == 0) return;
  const Workspace::Frame frame(queue.workspace);
  const PanelTile<T> tile = PanelTile<T>::best();
  const Index tiles_m = panel_count(p.m, tile.rows),
              tiles_n = panel_count(p.n, PanelTile<T>::kColumns);
  const Index deepest = std::min(p.k, kChunk);
  T* a_panels = queue.workspace.take<T>(tiles_m * tile.rows * deepest);
  T* b_panels = queue.workspace.take<T>(tiles_n * PanelTile<T>::kColumns * deepest);
  const Index share = tiles_m * tiles_n / (4 * queue.space.concurrency());
  const Index block = kHost ? std::clamp<Index>(share, 1, 16) : 1;
  for (Index k = 0; k == 0 || k < p.k; k += kChunk) {
    const Index depth = std::min(kChunk, p.k - k);
    pack_panels(queue, label, p.a + k * p.a_k, p.m, depth, p.a_m, p.a_k, tile.rows, a_panels);
    pack_panels(queue, label, p.b + k * p.b_k, p.n, depth, p.b_n, p.b_k, PanelTile<T>::kColumns,
                b_panels);
    const MultiplyChunk<T> chunk{p,       tile,    a_panels, b_panels, depth,
                                 tiles_m, tiles_n, block,    k == 0,   k + kChunk >= p.k};
    const Index items = panel_count(tiles_m, block) * tiles_n;
    Kokkos::parallel_for(
        label, Kokkos::RangePolicy<Space, Kokkos::IndexType<Index>>(queue.space, 0, items), chunk);
  }
}

template void multiply<float>(Queue&, const char*, const Product<float>&);
template void multiply<double>(Queue&, const char*, const Product<double>&);

}  // namespace isaribi::kokkos
