// SPDX-License-Identifier: MIT
#include "backends/kokkos/matrix.hpp"

namespace isaribi::kokkos {
namespace {

constexpr Index kChunk = 256;  // depth of one pass: a B panel of 16 KiB stays in L1

/// One pass over a chunk of k for a block of row tiles and one column panel.
template <typename T>
struct MultiplyChunk {
  Product<T> p;
  Tile<T> tile;
  const T* a_panels;
  const T* b_panels;
  Index depth;  // of this chunk
  Index tiles_m, tiles_n, block;
  bool first, last;

  KOKKOS_INLINE_FUNCTION void operator()(Index item) const {
    const Index panel = item % tiles_n, begin = item / tiles_n * block;
    const Index end = Kokkos::min(begin + block, tiles_m);
    for (Index t = begin; t < end; ++t) {
      if (p.lower_only && (t + 1) * tile.rows <= panel * Tile<T>::kColumns) continue;
      run_tile(t, panel);
    }
  }

  KOKKOS_INLINE_FUNCTION void run_tile(Index t, Index panel) const {
    const T* a[Tile<T>::kMaxRows];
    T acc[Tile<T>::kMaxRows * Tile<T>::kColumns] = {};
    for (int m = 0; m < tile.rows; ++m) a[m] = a_panels + t * depth * tile.rows + m;
    Reduction r;
    r.n2 = depth;
    r.a2 = tile.rows;
    r.b2 = Tile<T>::kColumns;
    tile.run(a, b_panels + panel * depth * Tile<T>::kColumns, r, acc);
    const Index row0 = t * tile.rows, column0 = panel * Tile<T>::kColumns;
    const Index rows = Kokkos::min<Index>(tile.rows, p.m - row0);
    const Index columns = Kokkos::min<Index>(Tile<T>::kColumns, p.n - column0);
    T* c = p.c + row0 * p.c_m + column0 * p.c_n;
    const T* bias = last && p.bias != nullptr ? p.bias + column0 : nullptr;
    if (p.c_n == 1 && columns == Tile<T>::kColumns) {  // constants, so that stores are vectors
      store(acc, c, bias, rows, std::integral_constant<int, Tile<T>::kColumns>{},
            std::integral_constant<int, 1>{});
    } else {
      store(acc, c, bias, rows, columns, p.c_n);
    }
  }

  template <typename Columns, typename Step>
  KOKKOS_INLINE_FUNCTION void store(const T* acc, T* c, const T* bias, Index rows, Columns columns,
                                    Step step) const {
    const bool add = !first || p.beta != T(0), relu = last && p.relu;
    const T alpha = p.alpha, beta = first ? p.beta : T(1);
    for (Index m = 0; m < rows; ++m, c += p.c_m, acc += Tile<T>::kColumns) {
#pragma omp simd
      for (Index j = 0; j < columns; ++j) {
        T value = alpha * acc[j];
        if (add) value += beta * c[j * step];
        if (bias != nullptr) value += bias[j];
        if (relu) value = value < T(0) ? T(0) : value;
        c[j * step] = value;
      }
    }
  }
};

}  // namespace

template <typename T>
void multiply(Queue& queue, const char* label, const Product<T>& p) {
  if (p.m == 0 || p.n == 0) return;
  const Workspace::Frame frame(queue.workspace);
  const Tile<T> tile = Tile<T>::best();
  const Index tiles_m = panel_count(p.m, tile.rows), tiles_n = panel_count(p.n, Tile<T>::kColumns);
  const Index deepest = std::min(p.k, kChunk);
  T* a_panels = queue.workspace.take<T>(tiles_m * tile.rows * deepest);
  T* b_panels = queue.workspace.take<T>(tiles_n * Tile<T>::kColumns * deepest);
  const Index share = tiles_m * tiles_n / (4 * queue.space.concurrency());
  const Index block = kHost ? std::clamp<Index>(share, 1, 16) : 1;
  for (Index k = 0; k == 0 || k < p.k; k += kChunk) {
    const Index depth = std::min(kChunk, p.k - k);
    pack_panels(queue, label, p.a + k * p.a_k, p.m, depth, p.a_m, p.a_k, tile.rows, a_panels);
    pack_panels(queue, label, p.b + k * p.b_k, p.n, depth, p.b_n, p.b_k, Tile<T>::kColumns,
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
