// SPDX-License-Identifier: MIT
// Depthwise convolutions, and grouped ones whose groups have room in a vector: vectors of channels,
// tiles of up to four pixels of one or two rows, so that a loaded input serves every tap that meets
// it. A group of 2^k channels is 2^k depthwise convolutions, of which the d-th gives from channel c
// a part of output channel c ^ d: its sums change lanes once they are complete, not each factor.
// Included by each ISA unit after its vec_*.hpp.
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

  bool none() const { return left == 0 && right == 0 && rows == 0; }
};

/// Whether column j of `columns` lies outside, for `taps` neighbouring taps.
[[gnu::always_inline]] inline bool outside(int j, int columns, int taps, const Ends& ends) {
  return (j < taps - 1 && j < ends.left) || (j > columns - taps && j >= columns - ends.right);
}

/// f<PX>(..) for PX = `pixels` <= MOST.
template <int MOST, class F, class... A>
[[gnu::always_inline]] inline void of_width(ptrdiff_t pixels, const F& f, const A&... arguments) {
  if (pixels == MOST) {
    f.template operator()<MOST>(arguments...);
  } else if constexpr (MOST > 1) {
    of_width<MOST - 1>(pixels, f, arguments...);
  }
}

/// f<PX>(q, x, ends) for tiles of up to MOST pixels from q, of nearly equal width, that read `rows`
/// rows for row p of the output and what follows; x: where the first tap of pixel q is.
template <int MOST, class F>
inline void each_tile(const DepthwiseRows& a, ptrdiff_t p, int rows, const F& f) {
  const Interior in = interior_of(a);
  const ptrdiff_t pixels = in.end - in.begin, tiles = (pixels + MOST - 1) / MOST;
  const ptrdiff_t row = a.top + p * a.step_h;
  unsigned rows_outside = 0;
  for (int r = 0; r < rows; ++r) rows_outside |= (row + r < 0 || row + r >= a.height) << r;
  for (ptrdiff_t t = 0; t < tiles; ++t) {
    const ptrdiff_t q = in.begin + pixels * t / tiles, end = in.begin + pixels * (t + 1) / tiles;
    const ptrdiff_t from = a.first + q * a.step, to = a.first + (end - 1) * a.step + a.taps;
    const Ends ends{from < 0 ? -from : 0, to > a.width ? to - a.width : 0, rows_outside};
    const float* x = a.x + (row * a.width + from) * a.channels;
    of_width<MOST>(end - q, f, q, x, ends);
  }
}

/// The row of x that row r of taps meets from row p of the output, or nullptr outside.
inline const float* row_of(const DepthwiseRows& a, ptrdiff_t p, int r) {
  const ptrdiff_t row = a.top + p * a.step_h + r * a.row_step;
  return row >= 0 && row < a.height ? a.x + row * a.width * a.channels : nullptr;
}

/// Row r of the taps of exchange d in weights or sums, from channel c on.
template <class T>
inline T* taps_of(const DepthwiseRows& a, T* of, ptrdiff_t c, int d, int r) {
  return of + a.taps * (a.rows * (a.group * c + d * kLanes) + r * kLanes);
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

/// f(d) for each of the depthwise convolutions that make up one with groups, from the last to the
/// first: between two, the sums so far go to the lanes in which the next one takes part in them.
template <bool GROUPED, int N, class F>
[[gnu::always_inline]] inline void each_exchange(int group, vf (&sum)[N], const F& f) {
  if constexpr (GROUPED) {
#pragma GCC unroll 1
    for (int d = group - 1; d > 0; --d) {
      f(d);
      const vi partners = i_partners(d ^ (d - 1));
#pragma GCC unroll 14
      for (vf& s : sum) s = v_permute(partners, s);
    }
  }
  f(0);
}

/// What sums start from, in the lanes of the convolution that is first in each_exchange.
template <bool GROUPED, class Lanes>
[[gnu::always_inline]] inline vf start_of(const float* bias, ptrdiff_t c, int group, Lanes m) {
  if (!bias) return v_zero();
  const vf start = get(bias + c, m);
  return GROUPED ? v_permute(i_partners(group - 1), start) : start;
}

/// Pixels [begin, end) of a row with whatever taps lie inside.
template <bool GROUPED>
void depthwise_pixels(const DepthwiseRows& a, const DepthwiseOutput& o, ptrdiff_t p,
                      ptrdiff_t begin, ptrdiff_t end) {
  each(a.channels, [&](ptrdiff_t c, auto m) {
    for (ptrdiff_t q = begin; q < end; ++q) {
      vf sum[] = {start_of<GROUPED>(o.bias, c, a.group, m)};
      each_exchange<GROUPED>(a.group, sum, [&](int d) {
        for (int r = 0; r < a.rows; ++r) {
          const float *x = row_of(a, p, r), *w = taps_of(a, o.w, c, d, r);
          for (int s = 0; x && s < a.taps; ++s) {
            const ptrdiff_t column = a.first + s * a.tap_step + q * a.step;
            if (column >= 0 && column < a.width)
              sum[0] = v_fma(get(x + column * a.channels + c, m), v_load(w + s * kLanes), sum[0]);
          }
        }
      });
      put(o.y + p * o.y_row + q * o.y_pixel + c, o.relu ? v_relu(sum[0]) : sum[0], m);
    }
  });
}

/// f(v, p, i, k, s) for each product of RB rows of PX pixels and KH x KW taps, of one vector of
/// channels: v of x meets tap (k, s) of pixel i of row p. x: the first tap of the first pixel;
/// columns are `channels` apart. Row by row, so that no more than the weights of RB rows are in
/// registers. INSIDE: all of it lies inside the image.
template <int KH, int KW, int STEP, int RB, int PX, bool INSIDE, class Lanes, class F>
[[gnu::always_inline]] inline void each_product(const float* x, ptrdiff_t x_row, ptrdiff_t channels,
                                                const Ends& ends, Lanes m, const F& f) {
  constexpr int kRows = (RB - 1) * STEP + KH, kColumns = (PX - 1) * STEP + KW;
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r, x += x_row) {
    if (!INSIDE && (ends.rows >> r & 1)) continue;
#pragma GCC unroll 20
    for (int j = 0; j < kColumns; ++j) {
      if (!INSIDE && outside(j, kColumns, KW, ends)) continue;
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
template <bool GROUPED, int KH, int KW, int STEP, int RB, int PX, bool INSIDE>
void depthwise_tile(const DepthwiseRows& a, const DepthwiseOutput& o, const float* x, float* y,
                    const Ends ends, Ahead& fetched) {
  const ptrdiff_t channels = a.channels, x_row = a.width * channels;
  const ptrdiff_t y_row = o.y_row, y_pixel = o.y_pixel;
  const float *w = o.w, *bias = o.bias;
  const bool relu = o.relu;
  const int group = GROUPED ? a.group : 1;
  Ahead ahead = fetched;
  each(channels, [&](ptrdiff_t c, auto m) {
    vf sum[RB * PX];
    const vf start = start_of<GROUPED>(bias, c, group, m);
#pragma GCC unroll 14
    for (vf& s : sum) s = start;
    each_exchange<GROUPED>(
        group, sum, [&](int d) __attribute__((always_inline)) {
          const float* of_d = w + KH * KW * (group * c + d * kLanes);
          const auto add = [&](vf v, int p, int i, int k, int s) __attribute__((always_inline)) {
            vf& to = sum[p * PX + i];
            to = v_fma(v, v_load(of_d + (k * KW + s) * kLanes), to);
          };
          each_product<KH, KW, STEP, RB, PX, INSIDE>(x + c, x_row, channels, ends, m, add);
        });
#pragma GCC unroll 2
    for (int p = 0; p < RB; ++p) {
#pragma GCC unroll 7
      for (int i = 0; i < PX; ++i)
        put(y + p * y_row + i * y_pixel + c, relu ? v_relu(sum[p * PX + i]) : sum[p * PX + i], m);
    }
    ahead.fetch<RB * PX * STEP * STEP, RB * PX>();
  });
  fetched = ahead;
}

/// RB rows from p.
template <bool GROUPED, int KH, int KW, int STEP, int RB>
void depthwise_rows(const DepthwiseRows& a, const DepthwiseOutput& o, ptrdiff_t p, Ahead& ahead) {
  // Groups wait for the FMA rather than for memory: the more sums the better, until they read too
  // many pixels that share sets of L1, and tiles inside the image that ask no questions. Larger
  // kernels are not worth the code.
  constexpr bool kMany = GROUPED && KH <= 3;
  constexpr int kMost = kMany && STEP == 1 && kLanes == 16 ? 7 : 4;
  constexpr int kRows = (RB - 1) * STEP + KH;
  each_tile<kMost>(a, p, kRows, [&]<int PX>(ptrdiff_t q, const float* x, const Ends& ends) {
    float* y = o.y + p * o.y_row + q * o.y_pixel;
    if (kMany && ends.none()) {
      depthwise_tile<GROUPED, KH, KW, STEP, RB, PX, kMany>(a, o, x, y, ends, ahead);
    } else {
      depthwise_tile<GROUPED, KH, KW, STEP, RB, PX, false>(a, o, x, y, ends, ahead);
    }
  });
  const Interior in = interior_of(a);
  for (int row = 0; row < RB; ++row) {
    depthwise_pixels<GROUPED>(a, o, p + row, 0, in.begin);
    depthwise_pixels<GROUPED>(a, o, p + row, in.end, a.columns);
  }
}

/// Kernels of neighbouring taps: by rows, and by pairs of rows where that is faster.
struct DepthwiseForm {
  int rows, taps, step;
  void (*one)(const DepthwiseRows&, const DepthwiseOutput&, ptrdiff_t p, Ahead&);
  void (*two)(const DepthwiseRows&, const DepthwiseOutput&, ptrdiff_t p, Ahead&);
};

template <bool GROUPED>
constexpr DepthwiseForm kDepthwiseForms[] = {
    {3, 3, 1, depthwise_rows<GROUPED, 3, 3, 1, 1>, depthwise_rows<GROUPED, 3, 3, 1, 2>},
    {5, 5, 1, depthwise_rows<GROUPED, 5, 5, 1, 1>, depthwise_rows<GROUPED, 5, 5, 1, 2>},
    {7, 7, 1, depthwise_rows<GROUPED, 7, 7, 1, 1>, depthwise_rows<GROUPED, 7, 7, 1, 2>},
    {3, 3, 2, depthwise_rows<GROUPED, 3, 3, 2, 1>,
     GROUPED ? depthwise_rows<GROUPED, 3, 3, 2, 2> : nullptr},
    {5, 5, 2, depthwise_rows<GROUPED, 5, 5, 2, 1>, nullptr},
    // Phases of the data gradients of these two.
    {3, 2, 1, depthwise_rows<GROUPED, 3, 2, 1, 1>, nullptr},
    {2, 3, 1, depthwise_rows<GROUPED, 2, 3, 1, 1>, nullptr},
    {2, 2, 1, depthwise_rows<GROUPED, 2, 2, 1, 1>, nullptr},
    {2, 1, 1, depthwise_rows<GROUPED, 2, 1, 1, 1>, nullptr},
    {1, 2, 1, depthwise_rows<GROUPED, 1, 2, 1, 1>, nullptr},
    {1, 1, 1, depthwise_rows<GROUPED, 1, 1, 1, 1>, nullptr},
};

template <bool GROUPED>
const DepthwiseForm* form_of(const DepthwiseRows& a) {
  for (const DepthwiseForm& form : kDepthwiseForms<GROUPED>) {
    if (is_close(a) && a.rows == form.rows && a.taps == form.taps && a.step == form.step &&
        a.step_h == form.step)
      return &form;
  }
  return nullptr;
}

bool depthwise_tiled(const DepthwiseRows& a) {
  return form_of<true>(a) != nullptr;
}

template <bool GROUPED>
void depthwise_output_of(const DepthwiseRows& a, const DepthwiseOutput& o) {
  Ahead ahead{a.ahead, o.ahead};
  const DepthwiseForm* form = form_of<GROUPED>(a);
  ptrdiff_t p = 0;
  for (; form && form->two && p + 2 <= o.rows; p += 2) form->two(a, o, p, ahead);
  for (; form && p < o.rows; ++p) form->one(a, o, p, ahead);
  for (; p < o.rows; ++p) depthwise_pixels<GROUPED>(a, o, p, 0, a.columns);
}

void depthwise_output(const DepthwiseRows& a, const DepthwiseOutput& o) {
  a.group > 1 ? depthwise_output_of<true>(a, o) : depthwise_output_of<false>(a, o);
}

}  // namespace
