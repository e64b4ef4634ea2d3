// SPDX-License-Identifier: MIT
// The register tiles, all accumulators in registers: one under convolution, of `rows` pixels that
// lie anywhere times the output channels of a panel, and one under GEMM and linear layers, of two
// packed panels. On a device they are plain inline code; on a host they are functions compiled once
// per instruction set (tile_*.cpp) and chosen once from CPUID, because the library itself is built
// for the baseline of the architecture.
#pragma once

#include <cstdint>

namespace isaribi::kokkos {

/// The sum a tile performs: three nested loops whose steps through A and B are fixed strides.
struct Reduction {
  std::int64_t n0 = 1, n1 = 1, n2 = 0;  ///< trip counts, outermost first
  std::int64_t a0 = 0, a1 = 0, a2 = 0;  ///< elements that A advances per step of each loop
  std::int64_t b0 = 0, b1 = 0, b2 = 0;  ///< the same for B
};

/// Columns of a host tile: 64 bytes.
template <typename T>
inline constexpr int kHostTileColumns = 64 / static_cast<int>(sizeof(T));
inline constexpr int kMaxTileRows = 8;

/// Columns of a packed panel of B: 128 bytes.
template <typename T>
inline constexpr int kHostPanelColumns = 2 * kHostTileColumns<T>;
inline constexpr int kMaxPanelRows = 12;

/// Where a tile of packed panels goes: c[m c_m + j] = relu(alpha acc[m][j] + beta c[..] + bias[j]),
/// m < rows, all columns; beta = 0 does not read c.
template <typename T>
struct PanelStore {
  T* c = nullptr;
  std::int64_t c_m = 0, rows = 0;
  T alpha = 1, beta = 0;
  const T* bias = nullptr;  ///< or none
  bool relu = false;
};

/// What is compiled for one instruction set.
template <typename T>
struct HostTile {
  /// acc[m][j] += sum a[m][i0 a0 + i1 a1 + i2 a2] b[i0 b0 + i1 b1 + i2 b2 + j], j <
  /// kHostTileColumns. `a` holds the addresses of `rows` rows, acc is [rows, kHostTileColumns]. b
  /// must be readable for whole rows of columns.
  int rows = 0;
  void (*run)(const T* const* a, const T* b, const Reduction& reduction, T* acc) = nullptr;
  /// acc[m][j] = sum over k < depth of a[k panel_rows + m] b[k kHostPanelColumns + j]; acc is
  /// [panel_rows, kHostPanelColumns].
  int panel_rows = 0;
  void (*multiply)(const T* a, const T* b, std::int64_t depth, T* acc) = nullptr;
  void (*store)(const T* acc, const PanelStore<T>& to) = nullptr;
  /// panel[k width + i] = from[i row + k], k < depth, i < width; 0 where i >= count.
  void (*pack)(const T* from, std::int64_t row, std::int64_t count, std::int64_t depth,
               std::int64_t width, T* panel) = nullptr;
  /// totals[i] += acc[i]
  void (*add)(const T* acc, double* totals, int count) = nullptr;
  const char* isa = "";
};

/// The tiles that this CPU can run, the best first.
template <typename T>
struct HostTiles {
  int count = 0;
  HostTile<T> list[3];
};
template <typename T>
HostTiles<T> host_tiles();

template <typename T>
HostTile<T> host_tile() {
  return host_tiles<T>().list[0];
}

}  // namespace isaribi::kokkos
