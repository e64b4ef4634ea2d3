// SPDX-License-Identifier: MIT
// Weight gradients of depthwise convolutions. Two numbers are read per nine multiply-adds of a 3x3
// kernel, so memory is the bound as soon as everything else is out of its way: tiles of up to four
// pixels of two rows, channels innermost as in memory, and the strip that comes next is fetched
// line by line in the order of its addresses. Included by each ISA unit after its vec_*.hpp.
#pragma once

#include "backends/simd/isa/depthwise.hpp"

namespace {

using isaribi::simd::DepthwiseGradient;

/// RB rows of PX pixels, channels [g.begin, g.end). x: the first tap of the first pixel; dy: that
/// pixel.
template <int KH, int KW, int STEP, int RB, int PX, bool INSIDE>
void gradient_tile(const DepthwiseRows& a, const DepthwiseGradient& g, const float* x,
                   const float* dy, const Ends ends, Ahead& fetched) {
  const ptrdiff_t channels = a.channels, x_row = a.width * channels, dy_row = a.columns * channels;
  float* acc = g.acc;
  Ahead ahead = fetched;
  each(g.end - g.begin, [&, begin = g.begin](ptrdiff_t at, auto m) {
    const ptrdiff_t c = begin + at;
    vf sum[KH][KW];
#pragma GCC unroll 5
    for (int r = 0; r < KH; ++r) {
#pragma GCC unroll 7
      for (int s = 0; s < KW; ++s) sum[r][s] = get(acc + (r * KW + s) * channels + c, m);
    }
    const auto add = [&](vf v, int p, int i, int k, int s) __attribute__((always_inline)) {
      sum[k][s] = v_fma(v, get(dy + c + p * dy_row + i * channels, m), sum[k][s]);
    };
    each_product<KH, KW, STEP, RB, PX, INSIDE>(x + c, x_row, channels, ends, m, add);
#pragma GCC unroll 5
    for (int r = 0; r < KH; ++r) {
#pragma GCC unroll 7
      for (int s = 0; s < KW; ++s) put(acc + (r * KW + s) * channels + c, sum[r][s], m);
    }
    ahead.fetch<RB * PX * STEP * STEP, RB * PX>();
  });
  fetched = ahead;
}

/// RB rows from p, KH rows of taps at a time.
template <int KH, int KW, int STEP, int RB>
void gradient_rows(DepthwiseRows a, DepthwiseGradient g, ptrdiff_t p, Ahead& fetched) {
  Ahead ahead = fetched;
  for (int r = 0; r < a.rows; r += KH) {
    ahead = fetched;  // again: the first rows of taps have fetched it
    each_tile(a, p, (RB - 1) * STEP + KH,
              [&]<int PX>(ptrdiff_t q, const float* x, const Ends& ends) {
                const float* dy = g.dy + (p * a.columns + q) * a.channels;
                if (ends.rows == 0) {
                  gradient_tile<KH, KW, STEP, RB, PX, true>(a, g, x, dy, ends, ahead);
                } else {
                  gradient_tile<KH, KW, STEP, RB, PX, false>(a, g, x, dy, ends, ahead);
                }
              });
    a.top += KH;
    g.acc += KH * KW * a.channels;
  }
  fetched = ahead;
}

/// A part of the channels at a time, whose sums stay in L1; of the taps, which are neighbours, as
/// many rows of KW as there are registers for.
template <int KH, int KW, int STEP>
void gradient_close(const DepthwiseRows& a, const DepthwiseGradient& g) {
  constexpr ptrdiff_t kTogether = 256;
  for (int tap = 0; tap < a.rows * KW; ++tap) {
    float* acc = g.acc + tap * a.channels + g.begin;
    each(g.end - g.begin, [&](ptrdiff_t c, auto m) { put(acc + c, v_zero(), m); });
  }
  Ahead ahead{a.ahead, g.ahead};
  for (DepthwiseGradient part = g; part.begin < g.end; part.begin = part.end) {
    part.end = part.begin + kTogether < g.end ? part.begin + kTogether : g.end;
    ptrdiff_t p = 0;
    for (; p + 2 <= g.rows; p += 2) gradient_rows<KH, KW, STEP, 2>(a, part, p, ahead);
    for (; p < g.rows; ++p) gradient_rows<KH, KW, STEP, 1>(a, part, p, ahead);
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
  constexpr int kOfFive = kLanes == 16 ? 5 : 1;  // AVX-512 has registers for 25 sums
  const auto is = [&](int size, int step) {
    return is_close(a) && a.rows == size && a.taps == size && a.step == step && a.step_h == step;
  };
  if (is(3, 1)) return gradient_close<3, 3, 1>(a, g);
  if (is(3, 2)) return gradient_close<3, 3, 2>(a, g);
  if (is(5, 1)) return gradient_close<kOfFive, 5, 1>(a, g);
  if (is(5, 2)) return gradient_close<kOfFive, 5, 2>(a, g);
  if (is(7, 1)) return gradient_close<1, 7, 1>(a, g);
  for (int r = 0; r < a.rows; ++r) {
    for (int s = 0; s < a.taps; ++s)
      each(g.end - g.begin, [&](ptrdiff_t c, auto m) { gradient_tap(a, g, r, s, g.begin + c, m); });
  }
}

}  // namespace
