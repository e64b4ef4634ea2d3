// SPDX-License-Identifier: MIT
// Weight gradients of depthwise convolutions. Two numbers are read per nine multiply-adds of a 3x3
// kernel, so memory is the bound as soon as everything else is out of its way: all nine sums of a
// vector of channels stay in registers over a strip of rows, each input is loaded from cache once
// per row of taps, and the strip that comes next is fetched line by line in the order of its
// addresses. Included by each ISA unit after its vec_*.hpp.
#pragma once

#include "backends/simd/isa/depthwise.hpp"

namespace {

using isaribi::simd::DepthwiseGradient;

/// PX pixels of a row from q, all of whose 3x3 taps lie inside; x, dy: their first vectors.
template <int STEP, int PX, class Lanes>
[[gnu::always_inline]] inline void gradient_pixels(const float* const (&x)[3], const float* dy,
                                                   ptrdiff_t channels, Ahead& ahead,
                                                   vf (&sum)[3][3], Lanes m) {
  vf d[PX];
#pragma GCC unroll 4
  for (int i = 0; i < PX; ++i) {
    d[i] = get(dy + i * channels, m);
    ahead.fetch<STEP * STEP>();
  }
#pragma GCC unroll 12
  for (int j = 0; j < (PX - 1) * STEP + 3; ++j) {
#pragma GCC unroll 3
    for (int r = 0; r < 3; ++r) {
      const vf v = get(x[r] + j * channels, m);
#pragma GCC unroll 3
      for (int s = 0; s < 3; ++s) {
        const int i = (j - s) / STEP;
        if (j >= s && (j - s) % STEP == 0 && i < PX) sum[r][s] = v_fma(v, d[i], sum[r][s]);
      }
    }
  }
}

/// A pixel at an end of a row: the taps that lie inside.
template <class Lanes>
inline void gradient_edge(const float* const (&x)[3], const DepthwiseRows& a, ptrdiff_t column,
                          vf d, vf (&sum)[3][3], Lanes m) {
#pragma GCC unroll 3
  for (int s = 0; s < 3; ++s) {
    if (column + s < 0 || column + s >= a.width) continue;
#pragma GCC unroll 3
    for (int r = 0; r < 3; ++r)
      sum[r][s] = v_fma(get(x[r] + (column + s) * a.channels, m), d, sum[r][s]);
  }
}

template <int STEP, class Lanes>
inline void gradient_nine(const DepthwiseRows& a, const DepthwiseGradient& g, Interior in,
                          ptrdiff_t c, Ahead& ahead, Lanes m) {
  vf sum[3][3];
#pragma GCC unroll 3
  for (auto& row : sum) {
#pragma GCC unroll 3
    for (vf& s : row) s = v_zero();
  }
  for (ptrdiff_t p = 0; p < g.rows; ++p) {
    const float* const x[3] = {row_of(a, p, 0) + c, row_of(a, p, 1) + c, row_of(a, p, 2) + c};
    const float* dy = g.dy + p * a.columns * a.channels + c;
    ptrdiff_t q = 0;
    const auto edge = [&] {
      gradient_edge(x, a, a.first + q * STEP, get(dy + q * a.channels, m), sum, m);
      ahead.fetch<STEP * STEP>();
      ++q;
    };
    while (q < in.begin) edge();
    const float* from[3] = {x[0] + (a.first + q * STEP) * a.channels,
                            x[1] + (a.first + q * STEP) * a.channels,
                            x[2] + (a.first + q * STEP) * a.channels};
    const auto pixels = [&]<int PX>() {
      gradient_pixels<STEP, PX>(from, dy + q * a.channels, a.channels, ahead, sum, m);
      for (const float*& f : from) f += PX * STEP * a.channels;
      q += PX;
    };
    while (q + 4 <= in.end) pixels.template operator()<4>();
    while (q < in.end) pixels.template operator()<1>();
    while (q < a.columns) edge();
  }
#pragma GCC unroll 3
  for (int r = 0; r < 3; ++r) {
#pragma GCC unroll 3
    for (int s = 0; s < 3; ++s) {
      float* out = g.acc + (r * 3 + s) * a.channels + c;
      put(out, v_add(get(out, m), sum[r][s]), m);
    }
  }
}

/// One tap of any kernel.
template <class Lanes>
inline void gradient_tap(const DepthwiseRows& a, const DepthwiseGradient& g, int r, int s,
                         ptrdiff_t c, Lanes m) {
  vf sum = v_zero();
  for (ptrdiff_t p = 0; p < g.rows; ++p) {
    const float* x = row_of(a, p, r) + c;
    const float* dy = g.dy + p * a.columns * a.channels + c;
    for (ptrdiff_t q = 0; q < a.columns; ++q) {
      const ptrdiff_t column = a.first + s * a.tap_step + q * a.step;
      if (column >= 0 && column < a.width)
        sum = v_fma(get(x + column * a.channels, m), get(dy + q * a.channels, m), sum);
    }
  }
  float* out = g.acc + (r * a.taps + s) * a.channels + c;
  put(out, v_add(get(out, m), sum), m);
}

void depthwise_gradient(const DepthwiseRows& a, const DepthwiseGradient& g) {
  const Interior in = interior_of(a);
  const bool nine = a.rows == 3 && a.taps == 3 && a.tap_step == 1;
  Ahead ahead{a.ahead, g.ahead};
  each(g.end - g.begin, [&](ptrdiff_t at, auto m) {
    const ptrdiff_t c = g.begin + at;
    if (nine && a.step == 1) {
      gradient_nine<1>(a, g, in, c, ahead, m);
    } else if (nine && a.step == 2) {
      gradient_nine<2>(a, g, in, c, ahead, m);
    } else {
      for (int r = 0; r < a.rows; ++r) {
        for (int s = 0; s < a.taps; ++s) gradient_tap(a, g, r, s, c, m);
      }
    }
  });
}

}  // namespace
