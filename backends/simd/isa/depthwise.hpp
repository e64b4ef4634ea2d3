// SPDX-License-Identifier: MIT
// Depthwise convolutions: vectors of channels, tiles of up to four pixels of one or two rows, so
// that a loaded input serves every tap that meets it. Included by each ISA unit after its
// vec_*.hpp.
#pragma once

#include "backends/simd/isa/lanes.hpp"
#include "backends/simd/kernels.hpp"

namespace {

using isaribi::simd::DepthwiseOutput;
using isaribi::simd::DepthwiseRows;

/// Whether taps are neighbours.
inline bool is_close(const DepthwiseRows& a) {
  return (a.taps == 1 || a.tap_step == 1) && (a.rows == 1 || a.row_step == 1);
}

/// The pixels [begin, end) of a row that meet any column of the image.
struct Interior {
  ptrdiff_t begin, end;
};
inline Interior interior_of(const DepthwiseRows& a) {
  const ptrdiff_t before = 1 - a.taps - a.first, room = a.width - 1 - a.first;
  const ptrdiff_t begin = before > 0 ? (before + a.step - 1) / a.step : 0;
  ptrdiff_t end = room >= 0 ? room / a.step + 1 : 0;
  if (end > a.columns) end = a.columns;
  return begin < end ? Interior{begin, end} : Interior{0, 0};
}

/// What a tile would read outside the image: so many columns on either side, fewer than there are
/// taps, and the rows whose bits are set.
struct Ends {
  ptrdiff_t left, right;
  unsigned rows;
};

/// Whether column j of `columns` lies outside, for `taps` neighbouring taps.
[[gnu::always_inline]] inline bool outside(int j, int columns, int taps, const Ends& ends) {
  return (j < taps - 1 && j < ends.left) || (j > columns - taps && j >= columns - ends.right);
}

/// f<PX>(q, x, ends) for tiles of up to four pixels from q, of nearly equal width, that read `rows`
/// rows for row p of the output and what follows; x: where the first tap of pixel q is.
template <class F>
inline void each_tile(const DepthwiseRows& a, ptrdiff_t p, int rows, const F& f) {
  const Interior in = interior_of(a);
  const ptrdiff_t pixels = in.end - in.begin, tiles = (pixels + 3) / 4;
  const ptrdiff_t row = a.top + p * a.step_h;
  unsigned rows_outside = 0;
  for (int r = 0; r < rows; ++r) rows_outside |= (row + r < 0 || row + r >= a.height) << r;
  for (ptrdiff_t t = 0; t < tiles; ++t) {
    const ptrdiff_t q = in.begin + pixels * t / tiles, end = in.begin + pixels * (t + 1) / tiles;
    const ptrdiff_t from = a.first + q * a.step, to = a.first + (end - 1) * a.step + a.taps;
    const Ends ends{from < 0 ? -from : 0, to > a.width ? to - a.width : 0, rows_outside};
    const float* x = a.x + (row * a.width + from) * a.channels;
    if (end - q == 4) f.template operator()<4>(q, x, ends);
    if (end - q == 3) f.template operator()<3>(q, x, ends);
    if (end - q == 2) f.template operator()<2>(q, x, ends);
    if (end - q == 1) f.template operator()<1>(q, x, ends);
  }
}

/// The row of x that row r of taps meets from row p of the output, or nullptr outside.
inline const float* row_of(const DepthwiseRows& a, ptrdiff_t p, int r) {
  const ptrdiff_t row = a.top + p * a.step_h + r * a.row_step;
  return row >= 0 && row < a.height ? a.x + row * a.width * a.channels : nullptr;
}

/// What is used next, brought to L2 in the order of its addresses, whatever the order of its use:
/// only so do the prefetchers of the hardware run ahead of it.
struct Ahead {
  const float *x, *y;

  /// As much as X vectors of x and Y of y are.
  template <int X, int Y>
  [[gnu::always_inline]] void fetch() {
    constexpr int kLine = 16;
#pragma GCC unroll 32
    for (int i = 0; i < X * kLanes; i += kLine) __builtin_prefetch(x + i, 0, 2);
#pragma GCC unroll 32
    for (int i = 0; i < Y * kLanes; i += kLine) __builtin_prefetch(y + i, 0, 2);
    x += X * kLanes;
    y += Y * kLanes;
  }
};

/// Pixels [begin, end) of a row with whatever taps lie inside.
void depthwise_pixels(const DepthwiseRows& a, const DepthwiseOutput& o, ptrdiff_t p,
                      ptrdiff_t begin, ptrdiff_t end) {
  each(a.channels, [&](ptrdiff_t c, auto m) {
    for (ptrdiff_t q = begin; q < end; ++q) {
      vf sum = o.bias ? get(o.bias + c, m) : v_zero();
      for (int r = 0; r < a.rows; ++r) {
        const float *x = row_of(a, p, r), *w = o.w + r * a.taps * a.channels + c;
        for (int s = 0; x && s < a.taps; ++s) {
          const ptrdiff_t column = a.first + s * a.tap_step + q * a.step;
          if (column >= 0 && column < a.width)
            sum = v_fma(get(x + column * a.channels + c, m), get(w + s * a.channels, m), sum);
        }
      }
      put(o.y + p * o.y_row + q * o.y_pixel + c, o.relu ? v_relu(sum) : sum, m);
    }
  });
}

/// f(v, p, i, k, s) for each product of RB rows of PX pixels and KH x KW taps, of one vector of
/// channels: v of x meets tap (k, s) of pixel i of row p. x: the first tap of the first pixel;
/// columns are `channels` apart. Row by row, so that no more than the weights of RB rows are in
/// registers. INSIDE: all rows lie inside the image.
template <int KH, int KW, int STEP, int RB, int PX, bool INSIDE, class Lanes, class F>
[[gnu::always_inline]] inline void each_product(const float* x, ptrdiff_t x_row, ptrdiff_t channels,
                                                const Ends& ends, Lanes m, const F& f) {
  constexpr int kRows = (RB - 1) * STEP + KH, kColumns = (PX - 1) * STEP + KW;
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r, x += x_row) {
    if (!INSIDE && (ends.rows >> r & 1)) continue;
#pragma GCC unroll 20
    for (int j = 0; j < kColumns; ++j) {
      if (outside(j, kColumns, KW, ends)) continue;
      const vf v = get(x + j * channels, m);
#pragma GCC unroll 2
      for (int p = 0; p < RB; ++p) {
        const int k = r - p * STEP;  // the row of taps
        if (k < 0 || k >= KH) continue;
#pragma GCC unroll 7
        for (int s = 0; s < KW; ++s) {
          const int i = (j - s) / STEP;
          if (j >= s && (j - s) % STEP == 0 && i < PX) f(v, p, i, k, s);
        }
      }
    }
  }
}

/// RB rows of PX pixels from q, all channels. They are the innermost loop, since in memory the
/// channels of a pixel follow each other. What is used in it is not read through references, which
/// the stores of y could have changed.
template <int KH, int KW, int STEP, int RB, int PX>
void depthwise_tile(const DepthwiseRows& a, const DepthwiseOutput& o, const float* x, float* y,
                    const Ends ends, Ahead& fetched) {
  const ptrdiff_t channels = a.channels, x_row = a.width * channels;
  const ptrdiff_t y_row = o.y_row, y_pixel = o.y_pixel;
  const float *w = o.w, *bias = o.bias;
  const bool relu = o.relu;
  Ahead ahead = fetched;
  each(channels, [&](ptrdiff_t c, auto m) {
    vf sum[RB][PX];
    const vf start = bias ? get(bias + c, m) : v_zero();
#pragma GCC unroll 2
    for (auto& row : sum) {
#pragma GCC unroll 4
      for (vf& s : row) s = start;
    }
    const auto add = [&](vf v, int p, int i, int k, int s) __attribute__((always_inline)) {
      sum[p][i] = v_fma(v, get(w + c + (k * KW + s) * channels, m), sum[p][i]);
    };
    each_product<KH, KW, STEP, RB, PX, false>(x + c, x_row, channels, ends, m, add);
#pragma GCC unroll 2
    for (int p = 0; p < RB; ++p) {
#pragma GCC unroll 4
      for (int i = 0; i < PX; ++i)
        put(y + p * y_row + i * y_pixel + c, relu ? v_relu(sum[p][i]) : sum[p][i], m);
    }
    ahead.fetch<RB * PX * STEP * STEP, RB * PX>();
  });
  fetched = ahead;
}

/// RB rows from p.
template <int KH, int KW, int STEP, int RB>
void depthwise_rows(const DepthwiseRows& a, const DepthwiseOutput& o, ptrdiff_t p, Ahead& ahead) {
  each_tile(a, p, (RB - 1) * STEP + KH, [&]<int PX>(ptrdiff_t q, const float* x, const Ends& ends) {
    float* y = o.y + p * o.y_row + q * o.y_pixel;
    depthwise_tile<KH, KW, STEP, RB, PX>(a, o, x, y, ends, ahead);
  });
  const Interior in = interior_of(a);
  for (int row = 0; row < RB; ++row) {
    depthwise_pixels(a, o, p + row, 0, in.begin);
    depthwise_pixels(a, o, p + row, in.end, a.columns);
  }
}

/// Kernels of neighbouring taps: by rows, and by pairs of rows where that is faster.
struct DepthwiseForm {
  int rows, taps, step;
  void (*one)(const DepthwiseRows&, const DepthwiseOutput&, ptrdiff_t p, Ahead&);
  void (*two)(const DepthwiseRows&, const DepthwiseOutput&, ptrdiff_t p, Ahead&);
};

constexpr DepthwiseForm kDepthwiseForms[] = {
    {3, 3, 1, depthwise_rows<3, 3, 1, 1>, depthwise_rows<3, 3, 1, 2>},
    {5, 5, 1, depthwise_rows<5, 5, 1, 1>, depthwise_rows<5, 5, 1, 2>},
    {7, 7, 1, depthwise_rows<7, 7, 1, 1>, depthwise_rows<7, 7, 1, 2>},
    {3, 3, 2, depthwise_rows<3, 3, 2, 1>, nullptr},
    {5, 5, 2, depthwise_rows<5, 5, 2, 1>, nullptr},
    // Phases of the data gradients of these two.
    {3, 2, 1, depthwise_rows<3, 2, 1, 1>, nullptr},
    {2, 3, 1, depthwise_rows<2, 3, 1, 1>, nullptr},
    {2, 2, 1, depthwise_rows<2, 2, 1, 1>, nullptr},
    {2, 1, 1, depthwise_rows<2, 1, 1, 1>, nullptr},
    {1, 2, 1, depthwise_rows<1, 2, 1, 1>, nullptr},
    {1, 1, 1, depthwise_rows<1, 1, 1, 1>, nullptr},
};

void depthwise_output(const DepthwiseRows& a, const DepthwiseOutput& o) {
  Ahead ahead{a.ahead, o.ahead};
  for (const DepthwiseForm& form : kDepthwiseForms) {
    if (!is_close(a) || a.rows != form.rows || a.taps != form.taps || a.step != form.step ||
        a.step_h != form.step)
      continue;
    ptrdiff_t p = 0;
    for (; form.two && p + 2 <= o.rows; p += 2) form.two(a, o, p, ahead);
    for (; p < o.rows; ++p) form.one(a, o, p, ahead);
    return;
  }
  for (ptrdiff_t p = 0; p < o.rows; ++p) depthwise_pixels(a, o, p, 0, a.columns);
}

}  // namespace
