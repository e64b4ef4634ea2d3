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

/// The same over packed panels: whole vectors of B, and A from one address.
template <typename T, int kRows, int kBytes, int kVectors>
void multiply_panels(const T* a, const T* b, std::int64_t depth, T* acc) {
  using V = typename Vector<T, kBytes>::Type;
  constexpr int kColumns = kHostPanelColumns<T>;
  constexpr int kWidth = kBytes / static_cast<int>(sizeof(T));
  for (int pass = 0; pass < kColumns; pass += kWidth * kVectors) {
    V sum[kRows][kVectors] = {};
    const T *left = a, *from = b + pass;
    for (std::int64_t k = 0; k < depth; ++k, left += kRows, from += kColumns) {
      V right[kVectors];
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) __builtin_memcpy(&right[v], from + v * kWidth, sizeof(V));
#pragma GCC unroll 16
      for (int m = 0; m < kRows; ++m) {
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) sum[m][v] += left[m] * right[v];
      }
    }
#pragma GCC unroll 16
    for (int m = 0; m < kRows; ++m) {
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v)
        __builtin_memcpy(acc + m * kColumns + pass + v * kWidth, &sum[m][v], sizeof(V));
    }
  }
}

/// See PanelStore.
template <typename T>
void store_panels(const T* acc, const PanelStore<T>& to) {
  constexpr int kColumns = kHostPanelColumns<T>;
  for (std::int64_t m = 0; m < to.rows; ++m, acc += kColumns) {
    T* c = to.c + m * to.c_m;
    const auto write = [&](auto value) {
#pragma omp simd
      for (int j = 0; j < kColumns; ++j) {
        const T x = value(j);
        c[j] = to.relu && x < T(0) ? T(0) : x;
      }
    };
    const T *bias = to.bias, alpha = to.alpha, beta = to.beta;
    if (bias != nullptr && beta != T(0)) {
      write([&](int j) { return alpha * acc[j] + beta * c[j] + bias[j]; });
    } else if (bias != nullptr) {
      write([&](int j) { return alpha * acc[j] + bias[j]; });
    } else if (beta != T(0)) {
      write([&](int j) { return alpha * acc[j] + beta * c[j]; });
    } else {
      write([&](int j) { return alpha * acc[j]; });
    }
  }
}

/// The type of places in a shuffle.
template <typename T>
struct PlaceOf;
template <>
struct PlaceOf<float> {
  using Type = std::int32_t;
};
template <>
struct PlaceOf<double> {
  using Type = std::int64_t;
};

/// Square matrices are transposed by perfect shuffles of their rows: log2(rows) times, row i and
/// the one half the matrix further become rows 2 i and 2 i + 1, their elements in turn.
template <typename T>
struct Square {
  using V = typename Vector<T, 32>::Type;
  using Places = typename Vector<typename PlaceOf<T>::Type, 32>::Type;
  static constexpr int kSize = 32 / static_cast<int>(sizeof(T));

  static void transpose(V (&rows)[kSize]) {
    Places low, high;
    for (int i = 0; i < kSize; ++i) {
      low[i] = i / 2 + i % 2 * kSize;
      high[i] = low[i] + kSize / 2;
    }
#pragma GCC unroll 3
    for (int stage = 1; stage < kSize; stage *= 2) {
      V next[kSize];
#pragma GCC unroll 4
      for (int i = 0; i < kSize / 2; ++i) {
        next[2 * i] = __builtin_shuffle(rows[i], rows[i + kSize / 2], low);
        next[2 * i + 1] = __builtin_shuffle(rows[i], rows[i + kSize / 2], high);
      }
      __builtin_memcpy(rows, next, sizeof(next));
    }
  }
};

/// See HostTile: squares where they fit, elements at the edges.
template <typename T>
void pack_columns(const T* from, std::int64_t row, std::int64_t count, std::int64_t depth,
                  std::int64_t width, T* panel) {
  constexpr int kSize = Square<T>::kSize;
  const std::int64_t whole = depth / kSize * kSize;
  for (std::int64_t i = 0; i < width; i += kSize) {
    std::int64_t k = 0;
    if (i + kSize <= count) {
      for (; k < whole; k += kSize) {
        typename Square<T>::V rows[kSize];
#pragma GCC unroll 8
        for (int r = 0; r < kSize; ++r)
          __builtin_memcpy(&rows[r], from + (i + r) * row + k, sizeof(rows[r]));
        Square<T>::transpose(rows);
#pragma GCC unroll 8
        for (int r = 0; r < kSize; ++r)
          __builtin_memcpy(panel + (k + r) * width + i, &rows[r], sizeof(rows[r]));
      }
    }
    const std::int64_t end = i + kSize < width ? i + kSize : width;
    for (; k < depth; ++k) {
      for (std::int64_t j = i; j < end; ++j)
        panel[k * width + j] = j < count ? from[j * row + k] : T(0);
    }
  }
}

template <typename T>
void add_to_totals(const T* acc, double* totals, int count) {
#pragma omp simd
  for (int i = 0; i < count; ++i) totals[i] += static_cast<double>(acc[i]);
}

/// The tiles of one instruction set: vectors of kBytes, tiles of kRows x kVectors under convolution
/// and kPanelRows x kPanelVectors of packed panels.
template <typename T, int kBytes, int kRows, int kVectors, int kPanelRows, int kPanelVectors>
HostTile<T> tile_of(const char* isa) {
  return {kRows,
          run_tile<T, kRows, kBytes, kVectors>,
          kPanelRows,
          multiply_panels<T, kPanelRows, kBytes, kPanelVectors>,
          store_panels<T>,
          pack_columns<T>,
          add_to_totals<T>,
          isa};
}

}  // namespace
}  // namespace isaribi::kokkos
