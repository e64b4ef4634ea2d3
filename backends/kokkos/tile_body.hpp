// SPDX-License-Identifier: MIT
// The host tile as GCC/Clang vector code for any vector length. Included only by the tile_*.cpp
// files, each compiled for one instruction set; therefore everything has internal linkage and no
// library header is used: an inline function kept from a file built for AVX-512 would crash an
// older CPU.
#pragma once

#include "backends/kokkos/tile.hpp"

namespace isaribi::kokkos {
namespace {

template <typename T, int kBytes>
struct Vector {
  typedef T Type __attribute__((vector_size(kBytes)));
};

/// Rows x (kVectors vectors of kBytes) per pass, as many passes as cover the columns.
template <typename T, int kRows, int kBytes, int kVectors>
void run_tile(const T* const* a, const T* b, const Reduction& r, T* acc) {
  using V = typename Vector<T, kBytes>::Type;
  constexpr int kColumns = kHostTileColumns<T>;
  constexpr int kWidth = kBytes / static_cast<int>(sizeof(T));
  for (int pass = 0; pass < kColumns; pass += kWidth * kVectors) {
    V sum[kRows][kVectors];
#pragma GCC unroll 16
    for (int m = 0; m < kRows; ++m) {
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        __builtin_memcpy(&sum[m][v], acc + m * kColumns + pass + v * kWidth, sizeof(V));
      }
    }
    for (std::int64_t i0 = 0; i0 < r.n0; ++i0) {
      for (std::int64_t i1 = 0; i1 < r.n1; ++i1) {
        const T* bp = b + i0 * r.b0 + i1 * r.b1 + pass;
        std::int64_t offset = i0 * r.a0 + i1 * r.a1;
        for (std::int64_t i2 = 0; i2 < r.n2; ++i2, bp += r.b2, offset += r.a2) {
          V right[kVectors];
#pragma GCC unroll 4
          for (int v = 0; v < kVectors; ++v)
            __builtin_memcpy(&right[v], bp + v * kWidth, sizeof(V));
#pragma GCC unroll 16
          for (int m = 0; m < kRows; ++m) {
            const T left = a[m][offset];
#pragma GCC unroll 4
            for (int v = 0; v < kVectors; ++v) sum[m][v] += left * right[v];
          }
        }
      }
    }
#pragma GCC unroll 16
    for (int m = 0; m < kRows; ++m) {
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        __builtin_memcpy(acc + m * kColumns + pass + v * kWidth, &sum[m][v], sizeof(V));
      }
    }
  }
}

template <typename T>
void add_to_totals(const T* acc, double* totals, int count) {
#pragma omp simd
  for (int i = 0; i < count; ++i) totals[i] += static_cast<double>(acc[i]);
}

}  // namespace
}  // namespace isaribi::kokkos
