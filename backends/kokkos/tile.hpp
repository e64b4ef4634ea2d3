// SPDX-License-Identifier: MIT
// The register tile under convolution, linear and GEMM: `rows` pixels (or matrix rows) times
// kTileColumns output channels, all accumulators in registers. On a device it is plain inline code;
// on a host it is a function compiled once per instruction set (tile_*.cpp) and chosen once from
// CPUID, because the library itself is built for the baseline of the architecture.
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
inline constexpr int kMaxTileRows = 12;

/// acc[m][j] += sum a[m][i0 a0 + i1 a1 + i2 a2] b[i0 b0 + i1 b1 + i2 b2 + j], j < kHostTileColumns.
/// `a` holds the addresses of `rows` rows, acc is [rows, kHostTileColumns]. b must be readable for
/// whole rows of columns.
template <typename T>
struct HostTile {
  int rows = 0;
  void (*run)(const T* const* a, const T* b, const Reduction& reduction, T* acc) = nullptr;
  void (*add)(const T* acc, double* totals, int count) = nullptr;  ///< totals[i] += acc[i]
  const char* isa = "";                                            ///< what it was compiled for
};

/// The best tile for this CPU.
template <typename T>
HostTile<T> host_tile();

}  // namespace isaribi::kokkos
