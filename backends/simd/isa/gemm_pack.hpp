// SPDX-License-Identifier: MIT
// Panels of GEMM: `count` lines of a matrix laid side by side, [depth][width], so that a tile reads
// them from end to end. Vectors of 8 on every level: copying is bound by memory. Stores may reach
// beyond the line they belong to; what they spoil is written after them. Included by each ISA unit
// after its vec_*.hpp.
#pragma once

#include <immintrin.h>

#include "backends/simd/kernels.hpp"

namespace {

using isaribi::simd::kPage;
using isaribi::simd::PackPanels;

/// Four elements of line i and of line i + 4 side by side; zero from line LINES on.
template <int LINES>
inline __m256 pair_of_lines(const float* from, ptrdiff_t stride, int i) {
  if (i >= LINES) return _mm256_setzero_ps();
  const __m256 low = _mm256_zextps128_ps256(_mm_loadu_ps(from + i * stride));
  return i + 4 < LINES ? _mm256_insertf128_ps(low, _mm_loadu_ps(from + (i + 4) * stride), 1) : low;
}

/// to[k][0..8) from LINES lines that are contiguous along k, zero in the other lanes: squares of 4,
/// two by two, which no shuffle crosses.
template <int LINES>
void pack_lines(const float* from, ptrdiff_t stride, ptrdiff_t depth, ptrdiff_t width, float* to) {
  ptrdiff_t k = 0;
#pragma GCC unroll 2
  for (; k + 4 <= depth; k += 4, to += 4 * width) {
    __m256 r[4], s[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) r[i] = pair_of_lines<LINES>(from + k, stride, i);
    s[0] = _mm256_unpacklo_ps(r[0], r[1]);
    s[1] = _mm256_unpackhi_ps(r[0], r[1]);
    s[2] = _mm256_unpacklo_ps(r[2], r[3]);
    s[3] = _mm256_unpackhi_ps(r[2], r[3]);
    _mm256_storeu_ps(to, _mm256_shuffle_ps(s[0], s[2], 0x44));
    _mm256_storeu_ps(to + width, _mm256_shuffle_ps(s[0], s[2], 0xee));
    _mm256_storeu_ps(to + 2 * width, _mm256_shuffle_ps(s[1], s[3], 0x44));
    _mm256_storeu_ps(to + 3 * width, _mm256_shuffle_ps(s[1], s[3], 0xee));
  }
  const ptrdiff_t lanes = width < 8 ? width : 8;
  for (; k < depth; ++k, to += width) {
    for (ptrdiff_t i = 0; i < lanes; ++i) to[i] = i < LINES ? from[i * stride + k] : 0.0f;
  }
}

template <int LINES>
inline void pack_lines_of(ptrdiff_t lines, const float* from, ptrdiff_t stride, ptrdiff_t depth,
                          ptrdiff_t width, float* to) {
  if (lines >= LINES) {
    pack_lines<LINES>(from, stride, depth, width, to);
  } else if constexpr (LINES > 1) {
    pack_lines_of<LINES - 1>(lines, from, stride, depth, width, to);
  }
}

/// to[k][0..width) from rows that are contiguous across the lines: NV vectors, the last one masked.
template <int NV>
inline void pack_rows(const float* from, ptrdiff_t stride, __m256i last, ptrdiff_t depth,
                      ptrdiff_t width, float* to) {
  for (ptrdiff_t k = 0; k < depth; ++k, from += stride, to += width) {
#pragma GCC unroll 8
    for (int v = 0; v < NV - 1; ++v) _mm256_storeu_ps(to + 8 * v, _mm256_loadu_ps(from + 8 * v));
    _mm256_storeu_ps(to + 8 * (NV - 1), _mm256_maskload_ps(from + 8 * (NV - 1), last));
  }
}

template <int NV>
inline void pack_rows_of(ptrdiff_t vectors, const float* from, ptrdiff_t stride, __m256i last,
                         ptrdiff_t depth, ptrdiff_t width, float* to) {
  if (vectors == NV) {
    pack_rows<NV>(from, stride, last, depth, width, to);
  } else if constexpr (NV > 1) {
    pack_rows_of<NV - 1>(vectors, from, stride, last, depth, width, to);
  }
}

/// One panel from lines, some elements of each at a time, so that the other lines find the rows of
/// the panel in L1; and from the last 8 lines to the first: a store that reaches into the next k is
/// repaired there.
inline void pack_panel_of_lines(const PackPanels& p, const float* from, ptrdiff_t count,
                                float* to) {
  constexpr ptrdiff_t kChunk = 64;
  for (ptrdiff_t k = 0; k < p.depth; k += kChunk, from += kChunk, to += kChunk * p.width) {
    const ptrdiff_t depth = p.depth - k < kChunk ? p.depth - k : kChunk;
    for (ptrdiff_t i = (p.width - 1) / 8 * 8; i >= 0; i -= 8) {
      if (count > i) {
        pack_lines_of<8>(count - i, from + i * p.across, p.across, depth, p.width, to + i);
        continue;
      }
      const ptrdiff_t lanes = p.width - i < 8 ? p.width - i : 8;
      for (ptrdiff_t row = 0; row < depth; ++row) {
        for (ptrdiff_t j = i; j < i + lanes; ++j) to[row * p.width + j] = 0.0f;
      }
    }
  }
}

/// Halves of a vector that lie apart, from 16 bytes each, or a half from 8 bytes each.
inline __m256 halves(__m128 low, const float* high) {
  return _mm256_insertf128_ps(_mm256_castps128_ps256(low), _mm_loadu_ps(high), 1);
}
inline __m128 quarters(const float* low, const float* high) {
  const __m128 half = _mm_castpd_ps(_mm_load_sd(reinterpret_cast<const double*>(low)));
  return _mm_loadh_pi(half, reinterpret_cast<const __m64*>(high));
}

/// to[k][0..width) of the panels that rows of A are packed to, of 4 and of 6 lines: vectors that
/// end where rows do not, so that no store crosses a line of cache. Returns how many rows were
/// packed.
inline ptrdiff_t pack_narrow_rows(const float* from, ptrdiff_t stride, ptrdiff_t depth,
                                  ptrdiff_t width, float* to) {
  ptrdiff_t k = 0;
  if (width == 4) {
    for (; k + 2 <= depth; k += 2, from += 2 * stride, to += 8)
      _mm256_storeu_ps(to, halves(_mm_loadu_ps(from), from + stride));
  } else if (width == 6) {
    for (; k + 4 <= depth; k += 4, from += 4 * stride, to += 24) {
      const float *b = from + stride, *c = b + stride, *d = c + stride;
      const __m256 low = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(from)),
                                              quarters(from + 4, b), 1);
      _mm256_storeu_ps(to, low);
      _mm256_storeu_ps(to + 8, halves(_mm_loadu_ps(b + 2), c));
      _mm256_storeu_ps(to + 16, halves(quarters(c + 4, d), d + 2));
    }
  }
  return k;
}

/// All panels, some rows at a time: each cache line and page of the matrix is visited once. As many
/// as an L1 holds of rows one page apart, else, of narrow panels, more: a core whose L1 is shared
/// with a neighbour takes five times as long to store pieces of a few lines.
void pack_panels_of_rows(const PackPanels& p) {
  constexpr ptrdiff_t kFew = 8, kPiece = 192;
  const ptrdiff_t at_once =
      p.along % kPage == 0 || p.width * kFew >= kPiece ? kFew : kPiece / p.width / kFew * kFew;
  constexpr int kMask[16] = {-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0};
  for (ptrdiff_t k = 0; k < p.depth; k += at_once) {
    const ptrdiff_t rows = p.depth - k < at_once ? p.depth - k : at_once;
    const float* from = p.from + k * p.along;
    float* to = p.to + k * p.width;
    for (ptrdiff_t i = 0; i < p.count; i += p.width, from += p.width, to += p.panel) {
      const ptrdiff_t count = p.count - i < p.width ? p.count - i : p.width;
      const ptrdiff_t used = (count + 7) / 8, lanes = count - 8 * (used - 1);
      if (8 * used < p.width) {
        for (ptrdiff_t j = 0; j < rows * p.width; ++j) to[j] = 0.0f;
      }
      const int* mask = kMask + 8 - lanes;
      const ptrdiff_t done =
          count == p.width ? pack_narrow_rows(from, p.along, rows, p.width, to) : 0;
      pack_rows_of<8>(used, from + done * p.along, p.along,
                      _mm256_loadu_si256(reinterpret_cast<const __m256i*>(mask)), rows - done,
                      p.width, to + done * p.width);
    }
  }
}

void gemm_pack(const PackPanels& p) {
  if (p.across == 1) {
    pack_panels_of_rows(p);
    return;
  }
  float* to = p.to;
  for (ptrdiff_t i = 0; i < p.count; i += p.width, to += p.panel) {
    const ptrdiff_t count = p.count - i < p.width ? p.count - i : p.width;
    pack_panel_of_lines(p, p.from + i * p.across, count, to);
  }
}

}  // namespace
