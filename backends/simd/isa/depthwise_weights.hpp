// SPDX-License-Identifier: MIT
// Weight gradients of depthwise convolutions. Two numbers are read per nine multiply-adds of a 3x3
// kernel, so memory is the bound as soon as everything else is out of its way: tiles of up to four
// pixels of two rows, channels innermost as in memory, and the strip that comes next is fetched
// line by line in the order of its addresses. Included by each ISA unit after its vec_*.hpp.
#pragma once

#include "backends/simd/isa/depthwise.hpp"

namespace {

using isaribi::simd::DepthwiseGradient;

/// RB rows of PX pixels of one vector of channels with 3x3 taps. x: the first tap of the first
/// pixel, dy: that pixel. INSIDE: all rows lie inside the image.
template <int STEP, int RB, int PX, bool INSIDE, class Lanes>
[[gnu::always_inline]] inline void gradient_sums(const float* x, ptrdiff_t x_row, const float* dy,
                                                 ptrdiff_t dy_row, ptrdiff_t channels,
                                                 const Ends& ends, vf (&sum)[3][3], Lanes m) {
  constexpr int kRows = (RB - 1) * STEP + 3, kColumns = (PX - 1) * STEP + 3;
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r, x += x_row) {
    if (!INSIDE && (ends.rows >> r & 1)) continue;
#pragma GCC unroll 12
    for (int j = 0; j < kColumns; ++j) {
      if (outside(j, kColumns, 3, ends)) continue;
      const vf v = get(x + j * channels, m);
#pragma GCC unroll 2
      for (int p = 0; p < RB; ++p) {
        const int k = r - p * STEP;  // the row of taps
        if (k < 0 || k >= 3) continue;
#pragma GCC unroll 3
        for (int s = 0; s < 3; ++s) {
          const int i = (j - s) / STEP;
          if (j >= s && (j - s) % STEP == 0 && i < PX)
            sum[k][s] = v_fma(v, get(dy + p * dy_row + i * channels, m), sum[k][s]);
        }
      }
    }
  }
}

/// RB rows of PX pixels, channels [g.begin, g.end).
template <int STEP, int RB, int PX, bool INSIDE>
void gradient_tile(const DepthwiseRows& a, const DepthwiseGradient& g, const float* x,
                   const float* dy, const Ends ends, Ahead& fetched) {
  const ptrdiff_t channels = a.channels, x_row = a.width * channels, dy_row = a.columns * channels;
  float* acc = g.acc;
  Ahead ahead = fetched;
  each(g.end - g.begin, [&, begin = g.begin](ptrdiff_t at, auto m) {
    const ptrdiff_t c = begin + at;
    vf sum[3][3];
#pragma GCC unroll 3
    for (int r = 0; r < 3; ++r) {
#pragma GCC unroll 3
      for (int s = 0; s < 3; ++s) sum[r][s] = get(acc + (r * 3 + s) * channels + c, m);
    }
    gradient_sums<STEP, RB, PX, INSIDE>(x + c, x_row, dy + c, dy_row, channels, ends, sum, m);
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
  each_tile(a, p, (RB - 1) * STEP + 3, [&]<int PX>(ptrdiff_t q, const float* x, const Ends& ends) {
    const float* dy = g.dy + (p * a.columns + q) * a.channels;
    if (ends.rows == 0) {
      gradient_tile<STEP, RB, PX, true>(a, g, x, dy, ends, ahead);
    } else {
      gradient_tile<STEP, RB, PX, false>(a, g, x, dy, ends, ahead);
    }
  });
}

/// Taps 3x3, a part of the channels at a time, whose sums stay in L1.
template <int STEP>
void gradient_nine(const DepthwiseRows& a, const DepthwiseGradient& g) {
  constexpr ptrdiff_t kTogether = 256;
  for (int tap = 0; tap < 9; ++tap) {
    float* acc = g.acc + tap * a.channels + g.begin;
    each(g.end - g.begin, [&](ptrdiff_t c, auto m) { put(acc + c, v_zero(), m); });
  }
  Ahead ahead{a.ahead, g.ahead};
  for (DepthwiseGradient part = g; part.begin < g.end; part.begin = part.end) {
    part.end = part.begin + kTogether < g.end ? part.begin + kTogether : g.end;
    ptrdiff_t p = 0;
    for (; p + 2 <= g.rows; p += 2) gradient_rows<STEP, 2>(a, part, p, ahead);
    for (; p < g.rows; ++p) gradient_rows<STEP, 1>(a, part, p, ahead);
  }
}

/// One tap of any kernel.
template <class Lanes>
inline void gradient_tap(const DepthwiseRows& a, const DepthwiseGradient& g, int r, int s,
                         ptrdiff_t c, Lanes m) {
  vf sum = v_zero();
  for (ptrdiff_t p = 0; p < g.rows; ++p) {
    const float *x = row_of(a, p, r), *dy = g.dy + p * a.columns * a.channels + c;
    for (ptrdiff_t q = 0; x && q < a.columns; ++q) {
      const ptrdiff_t column = a.first + s * a.tap_step + q * a.step;
      if (column >= 0 && column < a.width)
        sum = v_fma(get(x + column * a.channels + c, m), get(dy + q * a.channels, m), sum);
    }
  }
  put(g.acc + (r * a.taps + s) * a.channels + c, sum, m);
}

void depthwise_gradient(const DepthwiseRows& a, const DepthwiseGradient& g) {
  const bool nine = a.rows == 3 && a.taps == 3 && a.row_step == 1 && a.tap_step == 1;
  if (nine && a.step == 1 && a.step_h == 1) return gradient_nine<1>(a, g);
  if (nine && a.step == 2 && a.step_h == 2) return gradient_nine<2>(a, g);
  for (int r = 0; r < a.rows; ++r) {
    for (int s = 0; s < a.taps; ++s)
      each(g.end - g.begin, [&](ptrdiff_t c, auto m) { gradient_tap(a, g, r, s, g.begin + c, m); });
  }
}

}  // namespace
