// SPDX-License-Identifier: MIT
// Depthwise convolutions: vectors of channels, several pixels of a row at a time, so that a loaded
// input serves every tap of the row that meets it. Included by each ISA unit after its vec_*.hpp.
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

template <class Lanes>
inline void depthwise_store(const DepthwiseOutput& o, vf sum, ptrdiff_t q, ptrdiff_t c, Lanes m) {
  put(o.y + q * o.y_pixel + c, o.relu ? v_relu(sum) : sum, m);
}

/// One pixel with whatever taps lie inside.
template <class Lanes>
inline void depthwise_pixel(const DepthwiseRows& a, const DepthwiseOutput& o, ptrdiff_t q,
                            ptrdiff_t c, Lanes m) {
  vf sum = o.bias ? get(o.bias + c, m) : v_zero();
  for (int s = 0; s < a.taps; ++s) {
    const ptrdiff_t column = a.first + s * a.tap_step + q * a.step;
    if (column < 0 || column >= a.width) continue;
    for (int r = 0; r < a.rows; ++r) {
      sum = v_fma(get(a.x + r * a.x_row + column * a.channels + c, m),
                  get(o.w + (r * a.taps + s) * a.channels + c, m), sum);
    }
  }
  depthwise_store(o, sum, q, c, m);
}

/// PX pixels from q with TAPS neighbouring taps per row, all inside.
template <int TAPS, int STEP, int PX, class Lanes>
inline void depthwise_pixels(const DepthwiseRows& a, const DepthwiseOutput& o, ptrdiff_t q,
                             ptrdiff_t c, Lanes m) {
  vf sum[PX];
  const vf bias = o.bias ? get(o.bias + c, m) : v_zero();
#pragma GCC unroll 8
  for (int i = 0; i < PX; ++i) sum[i] = bias;
  const ptrdiff_t from = (a.first + q * STEP) * a.channels + c;
  for (int r = 0; r < a.rows; ++r) {
    const float* x = a.x + r * a.x_row + from;
    vf w[TAPS];
#pragma GCC unroll 4
    for (int s = 0; s < TAPS; ++s) w[s] = get(o.w + (r * TAPS + s) * a.channels + c, m);
#pragma GCC unroll 20
    for (int j = 0; j < (PX - 1) * STEP + TAPS; ++j) {
      const vf v = get(x + j * a.channels, m);
#pragma GCC unroll 4
      for (int s = 0; s < TAPS; ++s) {
        const int i = (j - s) / STEP;
        if (j >= s && (j - s) % STEP == 0 && i < PX) sum[i] = v_fma(v, w[s], sum[i]);
      }
    }
  }
  if (a.ahead) {
#pragma GCC unroll 16
    for (int j = 0; j < PX * STEP; ++j) __builtin_prefetch(a.ahead + from + j * a.channels, 0, 2);
  }
#pragma GCC unroll 8
  for (int i = 0; i < PX; ++i) {
    depthwise_store(o, sum[i], q + i, c, m);
    __builtin_prefetch(o.ahead + (q + i) * o.y_pixel + c, 1);
  }
}

template <int TAPS, int STEP, class Lanes>
inline void depthwise_interior(const DepthwiseRows& a, const DepthwiseOutput& o, Interior in,
                               ptrdiff_t c, Lanes m) {
  ptrdiff_t q = in.begin;
  for (; q + 8 <= in.end; q += 8) depthwise_pixels<TAPS, STEP, 8>(a, o, q, c, m);
  if (q + 4 <= in.end) {
    depthwise_pixels<TAPS, STEP, 4>(a, o, q, c, m);
    q += 4;
  }
  if (q + 2 <= in.end) {
    depthwise_pixels<TAPS, STEP, 2>(a, o, q, c, m);
    q += 2;
  }
  if (q < in.end) depthwise_pixels<TAPS, STEP, 1>(a, o, q, c, m);
}

void depthwise_output(const DepthwiseRows& a, const DepthwiseOutput& o) {
  const Interior all = interior_of(a);
  const bool neighbours = a.tap_step == 1 || a.taps == 1;
  each(a.channels, [&](ptrdiff_t c, auto m) {
    Interior in = all;
    if (neighbours && a.taps == 3 && a.step == 1) {
      depthwise_interior<3, 1>(a, o, in, c, m);
    } else if (neighbours && a.taps == 3 && a.step == 2) {
      depthwise_interior<3, 2>(a, o, in, c, m);
    } else if (neighbours && a.taps == 2 && a.step == 1) {
      depthwise_interior<2, 1>(a, o, in, c, m);
    } else if (a.taps == 1 && a.step == 1) {
      depthwise_interior<1, 1>(a, o, in, c, m);
    } else {
      in.end = in.begin;
    }
    for (ptrdiff_t q = 0; q < in.begin; ++q) depthwise_pixel(a, o, q, c, m);
    for (ptrdiff_t q = in.end; q < a.columns; ++q) depthwise_pixel(a, o, q, c, m);
  });
}

}  // namespace
