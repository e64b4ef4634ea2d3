// SPDX-License-Identifier: MIT
// Weight gradients of depthwise convolutions. Two numbers are read per nine multiply-adds of a 3x3
// kernel, so memory is the bound as soon as everything else is out of its way: tiles of up to four
// pixels of two rows, channels innermost as in memory, and the strip that comes next is fetched
// line by line in the order of its addresses. Included by each ISA unit after its vec_*.hpp.
#pragma once

#include "backends/simd/isa/depthwise.hpp"

namespace {

using isaribi::simd::DepthwiseGradient;

/// RB rows of PX pixels of one vector of channels with 3x3 taps. x, dy: the column of the first
/// pixel in each row.
template <int STEP, int RB, int PX, class Lanes>
[[gnu::always_inline]] inline void gradient_sums(const float* const* x, const float* const* dy,
                                                 ptrdiff_t channels, const Ends& ends,
                                                 vf (&sum)[3][3], Lanes m) {
  constexpr int kColumns = (PX - 1) * STEP + 3;
#pragma GCC unroll 6
  for (int r = 0; r < (RB - 1) * STEP + 3; ++r) {
#pragma GCC unroll 12
    for (int j = 0; j < kColumns; ++j) {
      if (outside(j, kColumns, 3, ends)) continue;
      const vf v = get(x[r] + j * channels, m);
#pragma GCC unroll 2
      for (int p = 0; p < RB; ++p) {
        const int k = r - p * STEP;  // the row of taps
        if (k < 0 || k >= 3) continue;
#pragma GCC unroll 3
        for (int s = 0; s < 3; ++s) {
          const int i = (j - s) / STEP;
          if (j >= s && (j - s) % STEP == 0 && i < PX)
            sum[k][s] = v_fma(v, get(dy[p] + i * channels, m), sum[k][s]);
        }
      }
    }
  }
}

/// RB rows from p of PX pixels from q, all channels.
template <int STEP, int RB, int PX>
void gradient_tile(const DepthwiseRows& a, const DepthwiseGradient& g, ptrdiff_t p, ptrdiff_t q,
                   const Ends ends, Ahead& fetched) {
  constexpr int kRows = (RB - 1) * STEP + 3;
  const ptrdiff_t channels = a.channels, from = (a.first + q * STEP) * channels;
  const float *rows[kRows], *gradients[RB];
  for (int r = 0; r < kRows; ++r) rows[r] = row_of(a, p, r) + from + g.begin;
  for (int r = 0; r < RB; ++r) gradients[r] = g.dy + ((p + r) * a.columns + q) * channels + g.begin;
  float* acc = g.acc + g.begin;
  Ahead ahead = fetched;
  each(g.end - g.begin, [&](ptrdiff_t c, auto m) {
    const float *x[kRows], *dy[RB];
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) x[r] = rows[r] + c;
#pragma GCC unroll 2
    for (int r = 0; r < RB; ++r) dy[r] = gradients[r] + c;
    vf sum[3][3];
#pragma GCC unroll 3
    for (int r = 0; r < 3; ++r) {
#pragma GCC unroll 3
      for (int s = 0; s < 3; ++s) sum[r][s] = get(acc + (r * 3 + s) * channels + c, m);
    }
    gradient_sums<STEP, RB, PX>(x, dy, channels, ends, sum, m);
#pragma GCC unroll 3
    for (int r = 0; r < 3; ++r) {
#pragma GCC unroll 3
      for (int s = 0; s < 3; ++s) put(acc + (r * 3 + s) * channels + c, sum[r][s], m);
    }
    ahead.fetch<RB * PX * STEP * STEP, RB * PX>();
  });
  fetched = ahead;
}

/// RB rows from p.
template <int STEP, int RB>
void gradient_rows(const DepthwiseRows& a, const DepthwiseGradient& g, ptrdiff_t p, Ahead& ahead) {
  each_tile(a, [&]<int PX>(ptrdiff_t q, const Ends& ends) {
    gradient_tile<STEP, RB, PX>(a, g, p, q, ends, ahead);
  });
}

/// Pixels [begin, end) of all rows with whatever taps of any kernel lie inside.
void gradient_pixels(const DepthwiseRows& a, const DepthwiseGradient& g, ptrdiff_t begin,
                     ptrdiff_t end) {
  if (begin == end) return;
  for (int tap = 0; tap < a.rows * a.taps; ++tap) {
    const int r = tap / a.taps, s = tap % a.taps;
    float* acc = g.acc + tap * a.channels + g.begin;
    each(g.end - g.begin, [&](ptrdiff_t c, auto m) {
      vf sum = get(acc + c, m);
      for (ptrdiff_t p = 0; p < g.rows; ++p) {
        const float* x = row_of(a, p, r) + g.begin + c;
        const float* dy = g.dy + p * a.columns * a.channels + g.begin + c;
        for (ptrdiff_t q = begin; q < end; ++q) {
          const ptrdiff_t column = a.first + s * a.tap_step + q * a.step;
          if (column >= 0 && column < a.width)
            sum = v_fma(get(x + column * a.channels, m), get(dy + q * a.channels, m), sum);
        }
      }
      put(acc + c, sum, m);
    });
  }
}

/// Taps 3x3, a part of the channels at a time, whose sums stay in L1.
template <int STEP>
void gradient_nine(const DepthwiseRows& a, const DepthwiseGradient& g) {
  constexpr ptrdiff_t kTogether = 256;
  Ahead ahead{a.ahead, g.ahead};
  for (DepthwiseGradient part = g; part.begin < g.end; part.begin = part.end) {
    part.end = part.begin + kTogether < g.end ? part.begin + kTogether : g.end;
    ptrdiff_t p = 0;
    for (; p + 2 <= g.rows; p += 2) gradient_rows<STEP, 2>(a, part, p, ahead);
    for (; p < g.rows; ++p) gradient_rows<STEP, 1>(a, part, p, ahead);
  }
}

void depthwise_gradient(const DepthwiseRows& a, const DepthwiseGradient& g) {
  for (int tap = 0; tap < a.rows * a.taps; ++tap) {
    float* acc = g.acc + tap * a.channels + g.begin;
    each(g.end - g.begin, [&](ptrdiff_t c, auto m) { put(acc + c, v_zero(), m); });
  }
  const bool nine = a.rows == 3 && a.taps == 3 && a.row_step == 1 && a.tap_step == 1;
  if (nine && a.step == 1 && a.step_h == 1) {
    gradient_nine<1>(a, g);
  } else if (nine && a.step == 2 && a.step_h == 2) {
    gradient_nine<2>(a, g);
  } else {
    gradient_pixels(a, g, 0, a.columns);
  }
}

}  // namespace
