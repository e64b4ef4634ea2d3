// SPDX-License-Identifier: MIT
// The dense kernels that linear algebra, linear layers and convolution share: packing of strided
// operands into the panels that the register tile reads, and a GEMM with arbitrary strides.
#pragma once

#include "backends/kokkos/loops.hpp"
#include "backends/kokkos/tile.hpp"

namespace isaribi::kokkos {

/// The register tile in a kernel. The number of rows is a property of the CPU (host_tile) or fixed
/// (device).
template <typename T>
struct Tile {
  static constexpr int kColumns = kHost ? kHostTileColumns<T> : 8;
  static constexpr int kMaxRows = kHost ? kMaxTileRows : 4;
  HostTile<T> host;
  int rows = kMaxRows;

  static Tile best() {
    Tile tile;
    if constexpr (kHost) {
      tile.host = host_tile<T>();
      tile.rows = tile.host.rows;
    }
    return tile;
  }

  /// See tile.hpp; acc is [rows, kColumns].
  KOKKOS_INLINE_FUNCTION void run(const T* const* a, const T* b, const Reduction& r, T* acc) const {
    if constexpr (kHost) {
      host.run(a, b, r, acc);
    } else {
      for (Index i0 = 0; i0 < r.n0; ++i0) {
        for (Index i1 = 0; i1 < r.n1; ++i1) {
          for (Index i2 = 0; i2 < r.n2; ++i2) {
            const Index offset = i0 * r.a0 + i1 * r.a1 + i2 * r.a2;
            const T* right = b + i0 * r.b0 + i1 * r.b1 + i2 * r.b2;
            for (int m = 0; m < kMaxRows; ++m) {
              for (int j = 0; j < kColumns; ++j) acc[m * kColumns + j] += a[m][offset] * right[j];
            }
          }
        }
      }
    }
  }
};

/// The tile of packed panels, as Tile.
template <typename T>
struct PanelTile {
  static constexpr int kColumns = kHost ? kHostPanelColumns<T> : 8;
  static constexpr int kMaxRows = kHost ? kMaxPanelRows : 4;
  HostTile<T> host;
  int rows = kMaxRows;

  static PanelTile best() {
    PanelTile tile;
    if constexpr (kHost) {
      tile.host = host_tile<T>();
      tile.rows = tile.host.panel_rows;
    }
    return tile;
  }

  /// acc[m, j] = sum over k < depth of a[k, m] b[k, j]; acc is [rows, kColumns].
  KOKKOS_INLINE_FUNCTION void multiply(const T* a, const T* b, Index depth, T* acc) const {
    if constexpr (kHost) {
      host.multiply(a, b, depth, acc);
    } else {
      for (int i = 0; i < kMaxRows * kColumns; ++i) acc[i] = T(0);
      for (Index k = 0; k < depth; ++k, a += kMaxRows, b += kColumns) {
        for (int m = 0; m < kMaxRows; ++m) {
          for (int j = 0; j < kColumns; ++j) acc[m * kColumns + j] += a[m] * b[j];
        }
      }
    }
  }

  /// totals += acc, both of `rows` rows.
  KOKKOS_INLINE_FUNCTION void add(const T* acc, double* totals) const {
    if constexpr (kHost) {
      host.add(acc, totals, rows * kColumns);
    } else {
      for (int i = 0; i < kMaxRows * kColumns; ++i) totals[i] += static_cast<double>(acc[i]);
    }
  }
};

/// Elements of the panels of an [n, k] operand: whole panels of `width`.
inline Index panel_count(Index n, Index width) {
  return (n + width - 1) / width;
}

/// panels[p, k, j] = source[(p width + j) n_stride + k k_stride], 0 beyond n.
template <typename T>
void pack_panels(const Queue& queue, const char* label, const T* source, Index n, Index depth,
                 Index n_stride, Index k_stride, Index width, T* panels) {
  if constexpr (kHost) {
    if (k_stride == 1 && n_stride != 1) {
      constexpr Index kPiece = 64;  // of the depth: a few hundred lines of memory at a time
      const HostTile<T> tile = host_tile<T>();
      const Index pieces = panel_count(depth, kPiece);
      for_rows(queue, label, panel_count(n, width) * pieces, width * kPiece,
               [=](Index item, Index, Index) {
                 const Index first = item / pieces * width, k = item % pieces * kPiece;
                 tile.pack(source + first * n_stride + k, n_stride, std::min(width, n - first),
                           std::min(kPiece, depth - k), width, panels + first * depth + k * width);
               });
      return;
    }
  }
  for_rows(
      queue, label, panel_count(n, width) * depth, width,
      KOKKOS_LAMBDA(Index row, Index begin, Index end) {
        const Index first = row / depth * width, k = row % depth;
        const Index last = Kokkos::min(end, n - first);
        const T* from = source + first * n_stride + k * k_stride;
        T* to = panels + row * width;
        for (Index j = begin; j < last; ++j) to[j] = from[j * n_stride];
        for (Index j = Kokkos::max(begin, last); j < end; ++j) to[j] = T(0);
      });
}

/// C = alpha A B + beta C, then + bias per column, then relu. Strides are in elements.
template <typename T>
struct Product {
  Index m = 0, n = 0, k = 0;
  const T* a = nullptr;
  Index a_m = 0, a_k = 0;
  const T* b = nullptr;
  Index b_k = 0, b_n = 0;
  T* c = nullptr;
  Index c_m = 0, c_n = 1;
  T alpha = 1, beta = 0;
  const T* bias = nullptr;  ///< [n] or none
  bool relu = false;
  bool lower_only = false;  ///< tiles wholly above the diagonal may be left out
};

/// Each element of C is computed by one thread in a fixed order. T: float, double.
template <typename T>
void multiply(Queue& queue, const char* label, const Product<T>& product);

}  // namespace isaribi::kokkos
