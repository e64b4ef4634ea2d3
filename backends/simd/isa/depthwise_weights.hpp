// SPDX-License-Identifier: MIT
// Weight gradients of depthwise convolutions. Two numbers are read per nine multiply-adds of a 3x3
// kernel, so memory is the bound as soon as everything else is out of its way: tiles of up to four
// pixels of two rows, channels innermost as in memory, and the strip that comes next is fetched
// line by line in the order of its addresses. Included by each ISA unit after its vec_*.hpp.
#pragma once

#include "backends/simd/isa/depthwise.hpp"

namespace {

using isaribi::simd::DepthwiseGradient;

/// Lane i takes lane i ^ d.
template <bool GROUPED>
[[gnu::always_inline]] inline vf exchanged(vf a, int d) {
  return GROUPED ? v_permute(i_partners(d), a) : a;
}

/// What a tile reads of one vector of channels, one after the other, with zeros outside the image:
/// groups read it once per channel, and pixels two apart are often so far apart that they share
/// sets of L1.
template <int ROWS, int COLUMNS, int TAPS>
struct Window {
  alignas(64) float of[ROWS][COLUMNS][kLanes];

  template <class Lanes>
  [[gnu::always_inline]] void fill(const float* x, ptrdiff_t x_row, ptrdiff_t channels,
                                   const Ends& ends, Lanes m) {
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; ++r, x += x_row) {
#pragma GCC unroll 20
      for (int j = 0; j < COLUMNS; ++j) {
        const bool zero = (ends.rows >> r & 1) || outside(j, COLUMNS, TAPS, ends);
        v_store(of[r][j], zero ? v_zero() : get(x + j * channels, m));
      }
    }
  }
};

/// RB rows of PX pixels, channels [g.begin, g.end). x: the first tap of the first pixel; dy: that
/// pixel.
template <bool GROUPED, int KH, int KW, int STEP, int RB, int PX, bool INSIDE>
void gradient_tile(const DepthwiseRows& a, const DepthwiseGradient& g, const float* x,
                   const float* dy, const Ends ends, Ahead& fetched) {
  const ptrdiff_t channels = a.channels, x_row = a.width * channels, dy_row = a.columns * channels;
  float* acc = g.acc;
  const int group = GROUPED ? a.group : 1;
  const ptrdiff_t acc_exchange = a.rows * KW * kLanes;
  constexpr bool kStaged = GROUPED && STEP > 1;
  constexpr int kRows = (RB - 1) * STEP + KH, kColumns = (PX - 1) * STEP + KW;
  Ahead ahead = fetched;
  each(g.end - g.begin, [&, begin = g.begin](ptrdiff_t at, auto m) {
    const ptrdiff_t c = begin + at;
    Window<kRows, kColumns, KW> window;
    if constexpr (kStaged) window.fill(x + c, x_row, channels, ends, m);
#pragma GCC unroll 1
    for (int d = 0; d < group; ++d) {
      vf by[RB][PX];
#pragma GCC unroll 2
      for (int p = 0; p < RB; ++p) {
#pragma GCC unroll 4
        for (int i = 0; i < PX; ++i)
          by[p][i] = exchanged<GROUPED>(get(dy + c + p * dy_row + i * channels, m), d);
      }
      float* of_d = acc + (group * c / kLanes + d) * acc_exchange;
      vf sum[KH][KW];
#pragma GCC unroll 5
      for (int r = 0; r < KH; ++r) {
#pragma GCC unroll 7
        for (int s = 0; s < KW; ++s) sum[r][s] = v_load(of_d + (r * KW + s) * kLanes);
      }
      const auto add = [&](vf v, int p, int i, int k, int s) __attribute__((always_inline)) {
        sum[k][s] = v_fma(v, by[p][i], sum[k][s]);
      };
      if constexpr (kStaged) {
        each_product<KH, KW, STEP, RB, PX, true>(window.of[0][0], kColumns * kLanes, kLanes, Ends{},
                                                 Whole{}, add);
      } else {
        each_product<KH, KW, STEP, RB, PX, INSIDE>(x + c, x_row, channels, ends, m, add);
      }
#pragma GCC unroll 5
      for (int r = 0; r < KH; ++r) {
#pragma GCC unroll 7
        for (int s = 0; s < KW; ++s) v_store(of_d + (r * KW + s) * kLanes, sum[r][s]);
      }
    }
    ahead.fetch<RB * PX * STEP * STEP, RB * PX>();
  });
  fetched = ahead;
}

/// RB rows from p, KH rows of taps at a time.
template <bool GROUPED, int KH, int KW, int STEP, int RB>
void gradient_rows(DepthwiseRows a, DepthwiseGradient g, ptrdiff_t p, Ahead& fetched) {
  Ahead ahead = fetched;
  for (int r = 0; r < a.rows; r += KH) {
    ahead = fetched;  // again: the first rows of taps have fetched it
    constexpr int kMost = 4, kRows = (RB - 1) * STEP + KH;
    each_tile<kMost>(a, p, kRows, [&]<int PX>(ptrdiff_t q, const float* x, const Ends& ends) {
      const float* dy = g.dy + (p * a.columns + q) * a.channels;
      if (ends.none()) {
        gradient_tile<GROUPED, KH, KW, STEP, RB, PX, true>(a, g, x, dy, ends, ahead);
      } else {
        gradient_tile<GROUPED, KH, KW, STEP, RB, PX, false>(a, g, x, dy, ends, ahead);
      }
    });
    a.top += KH;
    g.acc += KH * KW * kLanes;
  }
  fetched = ahead;
}

/// A part of the channels at a time, whose sums stay in L1; of the taps, which are neighbours, as
/// many rows of KW as there are registers for.
template <bool GROUPED, int KH, int KW, int STEP>
void gradient_close(const DepthwiseRows& a, const DepthwiseGradient& g) {
  const ptrdiff_t together = 256 / a.group;
  const float* acc_end = taps_of(a, g.acc, g.end + (-g.end & (kLanes - 1)), 0, 0);
  for (float* acc = taps_of(a, g.acc, g.begin, 0, 0); !g.add && acc < acc_end; acc += kLanes)
    v_store(acc, v_zero());
  Ahead ahead{a.ahead, g.ahead};
  for (DepthwiseGradient part = g; part.begin < g.end; part.begin = part.end) {
    part.end = part.begin + together < g.end ? part.begin + together : g.end;
    ptrdiff_t p = 0;
    for (; p + 2 <= g.rows; p += 2) gradient_rows<GROUPED, KH, KW, STEP, 2>(a, part, p, ahead);
    for (; p < g.rows; ++p) gradient_rows<GROUPED, KH, KW, STEP, 1>(a, part, p, ahead);
  }
}

/// One tap of any kernel.
template <class Lanes>
inline void gradient_tap(const DepthwiseRows& a, const DepthwiseGradient& g, int r, int s,
                         ptrdiff_t c, Lanes m) {
  float* acc = taps_of(a, g.acc, c, 0, r) + s * kLanes;
  vf sum = g.add ? v_load(acc) : v_zero();
  for (ptrdiff_t p = 0; p < g.rows; ++p) {
    const float *x = row_of(a, p, r), *dy = g.dy + p * a.columns * a.channels + c;
    for (ptrdiff_t q = 0; x && q < a.columns; ++q) {
      const ptrdiff_t column = a.first + s * a.tap_step + q * a.step;
      if (column >= 0 && column < a.width)
        sum = v_fma(get(x + column * a.channels + c, m), get(dy + q * a.channels, m), sum);
    }
  }
  v_store(acc, sum);
}

/// The form of these taps, or nullptr: gradient_tap does without one, but not for groups.
template <bool GROUPED>
auto gradient_of(const DepthwiseRows& a)
    -> void (*)(const DepthwiseRows&, const DepthwiseGradient&) {
  constexpr int kOfFive = kLanes == 16 ? 5 : 1;  // AVX-512 has registers for 25 sums
  const auto is = [&](int size, int step) {
    return is_close(a) && a.rows == size && a.taps == size && a.step == step && a.step_h == step;
  };
  if (is(3, 1)) return gradient_close<GROUPED, 3, 3, 1>;
  if (is(3, 2)) return gradient_close<GROUPED, 3, 3, 2>;
  if (is(5, 1)) return gradient_close<GROUPED, kOfFive, 5, 1>;
  if (is(5, 2)) return gradient_close<GROUPED, kOfFive, 5, 2>;
  if (is(7, 1)) return gradient_close<GROUPED, 1, 7, 1>;
  return nullptr;
}

bool depthwise_gradient_tiled(const DepthwiseRows& a) {
  return gradient_of<true>(a) != nullptr;
}

void depthwise_gradient(const DepthwiseRows& a, const DepthwiseGradient& g) {
  if (const auto form = a.group > 1 ? gradient_of<true>(a) : gradient_of<false>(a))
    return form(a, g);
  for (int r = 0; r < a.rows; ++r) {
    for (int s = 0; s < a.taps; ++s)
      each(g.end - g.begin, [&](ptrdiff_t c, auto m) { gradient_tap(a, g, r, s, g.begin + c, m); });
  }
}

}  // namespace
