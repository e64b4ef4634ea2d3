// SPDX-License-Identifier: MIT
// Depthwise convolutions: vectors of channels, several pixels of one or two rows at a time, so that
// a loaded input serves every tap that meets it. Included by each ISA unit after its vec_*.hpp.
#pragma once

#include "backends/simd/isa/lanes.hpp"
#include "backends/simd/kernels.hpp"

namespace {

using isaribi::simd::DepthwiseOutput;
using isaribi::simd::DepthwiseRows;

/// The pixels [begin, end) of a row all of whose taps lie inside the image.
struct Interior {
  ptrdiff_t begin, end;
};
inline Interior interior_of(const DepthwiseRows& a) {
  ptrdiff_t begin = a.first >= 0 ? 0 : (-a.first + a.step - 1) / a.step;
  const ptrdiff_t room = a.width - 1 - (a.first + (a.taps - 1) * a.tap_step);
  ptrdiff_t end = room < 0 ? 0 : room / a.step + 1;
  if (end > a.columns) end = a.columns;
  if (begin > end) begin = end;
  return {begin, end};
}

/// The row of x that row r of taps meets from row p of the output.
inline const float* row_of(const DepthwiseRows& a, ptrdiff_t p, int r) {
  const ptrdiff_t row = a.top + p * a.step_h + r * a.row_step;
  return row >= 0 && row < a.height ? a.x + row * a.width * a.channels : a.zeros;
}

/// What is used next, brought to L2 in the order of its addresses, whatever the order of its use:
/// only so do the prefetchers of the hardware run ahead of it.
struct Ahead {
  const float *x, *y;

  /// For one vector of an output pixel: LINES vectors of x.
  template <int LINES>
  void fetch() {
    __builtin_prefetch(y, 0, 2);
    y += kLanes;
#pragma GCC unroll 4
    for (int i = 0; i < LINES; ++i, x += kLanes) __builtin_prefetch(x, 0, 2);
  }
};

template <class Lanes>
inline void depthwise_store(const DepthwiseOutput& o, vf sum, float* y, Lanes m) {
  put(y, o.relu ? v_relu(sum) : sum, m);
}

/// One pixel with whatever taps lie inside.
template <class Lanes>
inline void depthwise_pixel(const DepthwiseRows& a, const DepthwiseOutput& o, ptrdiff_t p,
                            ptrdiff_t q, ptrdiff_t c, Lanes m) {
  vf sum = o.bias ? get(o.bias + c, m) : v_zero();
  for (int r = 0; r < a.rows; ++r) {
    const float *x = row_of(a, p, r) + c, *w = o.w + r * a.taps * a.channels + c;
    for (int s = 0; s < a.taps; ++s) {
      const ptrdiff_t column = a.first + s * a.tap_step + q * a.step;
      if (column >= 0 && column < a.width)
        sum = v_fma(get(x + column * a.channels, m), get(w + s * a.channels, m), sum);
    }
  }
  depthwise_store(o, sum, o.y + p * o.y_row + q * o.y_pixel + c, m);
}

/// RB rows of PX pixels from q with KH x KW neighbouring taps, all columns inside.
template <int KH, int KW, int STEP, int RB, int PX, class Lanes>
[[gnu::always_inline]] inline void depthwise_tile(const DepthwiseRows& a, const DepthwiseOutput& o,
                                                  const float* const* rows, const vf (&w)[KH][KW],
                                                  vf bias, ptrdiff_t q, float* y, Ahead& ahead,
                                                  Lanes m) {
  vf sum[RB][PX];
#pragma GCC unroll 2
  for (int p = 0; p < RB; ++p) {
#pragma GCC unroll 8
    for (int i = 0; i < PX; ++i) sum[p][i] = bias;
  }
  const ptrdiff_t from = (a.first + q * STEP) * a.channels;
#pragma GCC unroll 6
  for (int r = 0; r < (RB - 1) * STEP + KH; ++r) {
    const float* x = rows[r] + from;
#pragma GCC unroll 20
    for (int j = 0; j < (PX - 1) * STEP + KW; ++j) {
      const vf v = get(x + j * a.channels, m);
#pragma GCC unroll 2
      for (int p = 0; p < RB; ++p) {
        const int k = r - p * STEP;  // the row of taps
        if (k < 0 || k >= KH) continue;
#pragma GCC unroll 4
        for (int s = 0; s < KW; ++s) {
          const int i = (j - s) / STEP;
          if (j >= s && (j - s) % STEP == 0 && i < PX) sum[p][i] = v_fma(v, w[k][s], sum[p][i]);
        }
      }
    }
  }
#pragma GCC unroll 2
  for (int p = 0; p < RB; ++p) {
#pragma GCC unroll 8
    for (int i = 0; i < PX; ++i) {
      depthwise_store(o, sum[p][i], y + p * o.y_row + (q + i) * o.y_pixel, m);
      ahead.fetch<STEP * STEP>();
    }
  }
}

/// RB rows of pixel q: the columns that lie inside.
template <int KH, int KW, int STEP, int RB, class Lanes>
inline void depthwise_edge(const DepthwiseRows& a, const DepthwiseOutput& o,
                           const float* const* rows, const vf (&w)[KH][KW], vf bias, ptrdiff_t q,
                           float* y, Lanes m) {
  vf sum[RB];
#pragma GCC unroll 2
  for (int p = 0; p < RB; ++p) sum[p] = bias;
#pragma GCC unroll 4
  for (int s = 0; s < KW; ++s) {
    const ptrdiff_t column = a.first + q * STEP + s;
    if (column < 0 || column >= a.width) continue;
#pragma GCC unroll 6
    for (int r = 0; r < (RB - 1) * STEP + KH; ++r) {
      const vf v = get(rows[r] + column * a.channels, m);
#pragma GCC unroll 2
      for (int p = 0; p < RB; ++p) {
        const int k = r - p * STEP;
        if (k >= 0 && k < KH) sum[p] = v_fma(v, w[k][s], sum[p]);
      }
    }
  }
#pragma GCC unroll 2
  for (int p = 0; p < RB; ++p) depthwise_store(o, sum[p], y + p * o.y_row + q * o.y_pixel, m);
}

template <class Lanes>
constexpr bool kWhole = false;
template <>
constexpr bool kWhole<Whole> = true;

/// RB rows from p of one vector of channels.
template <int KH, int KW, int STEP, int RB, class Lanes>
inline void depthwise_rows(const DepthwiseRows& a, const DepthwiseOutput& o, Interior in,
                           ptrdiff_t p, ptrdiff_t c, Ahead& ahead, Lanes m) {
  const float* rows[(RB - 1) * STEP + KH];
  for (int r = 0; r < (RB - 1) * STEP + KH; ++r) rows[r] = row_of(a, p, r) + c;
  vf w[KH][KW];
#pragma GCC unroll 4
  for (int r = 0; r < KH; ++r) {
#pragma GCC unroll 4
    for (int s = 0; s < KW; ++s) w[r][s] = get(o.w + (r * KW + s) * a.channels + c, m);
  }
  const vf bias = o.bias ? get(o.bias + c, m) : v_zero();
  float* y = o.y + p * o.y_row + c;
  ptrdiff_t q = in.begin;
  const auto tile = [&]<int PX>() {
    depthwise_tile<KH, KW, STEP, RB, PX>(a, o, rows, w, bias, q, y, ahead, m);
    q += PX;
  };
  // Part of a vector is rare: fewer kernels.
  constexpr bool kMany = kWhole<Lanes> && (kLanes == 16 || RB == 1);
  if constexpr (kMany) {
    while (q + 8 <= in.end) tile.template operator()<8>();
  }
  while (q + 4 <= in.end) tile.template operator()<4>();
  while (q < in.end) tile.template operator()<1>();
  const auto edge = [&] {
    depthwise_edge<KH, KW, STEP, RB>(a, o, rows, w, bias, q, y, m);
    ahead.fetch<RB * STEP * STEP>();
  };
  for (; q < a.columns; ++q) edge();
  for (q = 0; q < in.begin; ++q) edge();
}

template <int KH, int KW, int STEP, int RB>
void depthwise_channels(const DepthwiseRows& a, const DepthwiseOutput& o, ptrdiff_t p,
                        Ahead& ahead) {
  const Interior in = interior_of(a);
  each(a.channels,
       [&](ptrdiff_t c, auto m) { depthwise_rows<KH, KW, STEP, RB>(a, o, in, p, c, ahead, m); });
}

void depthwise_output(const DepthwiseRows& a, const DepthwiseOutput& o) {
  const bool close = (a.taps == 1 || a.tap_step == 1) && (a.rows == 1 || a.row_step == 1);
  const auto is = [&](int rows, int taps, int step) {
    return close && a.rows == rows && a.taps == taps && a.step == step && a.step_h == step;
  };
  Ahead ahead{a.ahead, o.ahead};
  ptrdiff_t p = 0;
  if (is(3, 3, 1)) {
    for (; p + 2 <= o.rows; p += 2) depthwise_channels<3, 3, 1, 2>(a, o, p, ahead);
  }
  for (; p < o.rows; ++p) {
    if (is(3, 3, 1)) {
      depthwise_channels<3, 3, 1, 1>(a, o, p, ahead);
    } else if (is(3, 3, 2)) {
      depthwise_channels<3, 3, 2, 1>(a, o, p, ahead);
    } else if (is(2, 2, 1)) {
      depthwise_channels<2, 2, 1, 1>(a, o, p, ahead);
    } else if (is(2, 1, 1)) {
      depthwise_channels<2, 1, 1, 1>(a, o, p, ahead);
    } else if (is(1, 2, 1)) {
      depthwise_channels<1, 2, 1, 1>(a, o, p, ahead);
    } else if (is(1, 1, 1)) {
      depthwise_channels<1, 1, 1, 1>(a, o, p, ahead);
    } else {
      each(a.channels, [&](ptrdiff_t c, auto m) {
        for (ptrdiff_t q = 0; q < a.columns; ++q) depthwise_pixel(a, o, p, q, c, m);
      });
    }
  }
}

}  // namespace
