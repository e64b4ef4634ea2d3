// SPDX-License-Identifier: MIT
// One-pass kernels bound by memory: batch norm, elementwise, optimizer updates. Channel parameters
// come repeated to a whole number of vectors (ChannelPass), so that every loop runs full vectors.
// Included by each ISA unit after its vec_*.hpp.
#pragma once

#include "backends/simd/isa/lanes.hpp"
#include "backends/simd/kernels.hpp"

namespace {

using isaribi::simd::Adam;
using isaribi::simd::ChannelPass;
using isaribi::simd::Sgd;

/// Asks for one line per 16 elements of all operands, `count` elements from element `start` on.
inline void prefetch(const ChannelPass& a, ptrdiff_t start, ptrdiff_t count) {
  for (ptrdiff_t i = 0; i < count; i += 16) {
    __builtin_prefetch(a.x + start + i);
    if (a.y) __builtin_prefetch(a.y + start + i);
    if (a.dy) __builtin_prefetch(a.dy + start + i);
  }
}

/// Two sums per column in f64 (COLUMNS vectors at once): sum0 += u, sum1 += u v.
template <int COLUMNS, class Load>
inline void two_sums(const ChannelPass& a, ptrdiff_t column, ptrdiff_t begin, ptrdiff_t end,
                     const Load& load) {
  vd s0[COLUMNS][2], s1[COLUMNS][2];
  double *sum0 = a.sum0 + column, *sum1 = a.sum1 + column;
#pragma GCC unroll 4
  for (int c = 0; c < COLUMNS; ++c) {
#pragma GCC unroll 2
    for (int h = 0; h < 2; ++h) {
      s0[c][h] = d_load(sum0 + c * kLanes + h * kDoubles);
      s1[c][h] = d_load(sum1 + c * kLanes + h * kDoubles);
    }
  }
  // The passes over this block ask for the next block line by line: their own accesses jump, which
  // the hardware's prefetch does not follow.
  ptrdiff_t next = end * a.period + column * (end - begin);
  for (ptrdiff_t n = begin; n < end; ++n, next += COLUMNS * kLanes) {
    prefetch(a, next, COLUMNS * kLanes);
#pragma GCC unroll 4
    for (int c = 0; c < COLUMNS; ++c) {
      vf u, v;
      load(n * a.period + column + c * kLanes, column + c * kLanes, u, v);
      const vd u0 = d_low(u), u1 = d_high(u);
      s0[c][0] = d_add(s0[c][0], u0);
      s0[c][1] = d_add(s0[c][1], u1);
      s1[c][0] = d_fma(u0, d_low(v), s1[c][0]);
      s1[c][1] = d_fma(u1, d_high(v), s1[c][1]);
    }
  }
#pragma GCC unroll 4
  for (int c = 0; c < COLUMNS; ++c) {
#pragma GCC unroll 2
    for (int h = 0; h < 2; ++h) {
      d_store(sum0 + c * kLanes + h * kDoubles, s0[c][h]);
      d_store(sum1 + c * kLanes + h * kDoubles, s1[c][h]);
    }
  }
}

/// All columns, over blocks of rows small enough that the second column pass reads L1.
template <class Load>
inline void all_columns(const ChannelPass& a, const Load& load) {
  constexpr int kAtOnce = kLanes == 16 ? 4 : 2;  // 16 or 8 accumulators
  constexpr ptrdiff_t kBlock = 2048;
  for (ptrdiff_t i = 0; i < a.period; ++i) a.sum0[i] = a.sum1[i] = 0.0;
  const ptrdiff_t rows = a.period >= kBlock ? 1 : kBlock / a.period;
  for (ptrdiff_t begin = 0; begin < a.periods; begin += rows) {
    const ptrdiff_t end = begin + rows < a.periods ? begin + rows : a.periods;
    ptrdiff_t column = 0;
    for (; column + kAtOnce * kLanes <= a.period; column += kAtOnce * kLanes)
      two_sums<kAtOnce>(a, column, begin, end, load);
    for (; column + 2 * kLanes <= a.period; column += 2 * kLanes)
      two_sums<2>(a, column, begin, end, load);
    for (; column < a.period; column += kLanes) two_sums<1>(a, column, begin, end, load);
  }
}

void bn_statistics(const ChannelPass& a) {
  all_columns(a, [&a](ptrdiff_t i, ptrdiff_t, vf& u, vf& v) { u = v = v_load(a.x + i); });
}

void bn_backward_reduce(const ChannelPass& a) {
  const auto normalised = [&a](ptrdiff_t i, ptrdiff_t c) {
    return v_mul(v_sub(v_load(a.x + i), v_load(a.mean + c)), v_load(a.inv_std + c));
  };
  if (a.y) {
    all_columns(a, [&](ptrdiff_t i, ptrdiff_t c, vf& u, vf& v) {
      u = v_where_positive(v_load(a.y + i), v_load(a.dy + i));
      v = normalised(i, c);
    });
  } else {
    all_columns(a, [&](ptrdiff_t i, ptrdiff_t c, vf& u, vf& v) {
      u = v_load(a.dy + i);
      v = normalised(i, c);
    });
  }
}

void column_sums(const ChannelPass& a) {
  for (ptrdiff_t column = 0; column < a.period; column += kLanes) {
    vd s0 = d_zero(), s1 = d_zero(), t0 = d_zero(), t1 = d_zero();
    ptrdiff_t n = 0;
    for (; n + 2 <= a.periods; n += 2) {
      const vf u = v_load(a.x + n * a.period + column);
      const vf v = v_load(a.x + (n + 1) * a.period + column);
      s0 = d_add(s0, d_low(u));
      s1 = d_add(s1, d_high(u));
      t0 = d_add(t0, d_low(v));
      t1 = d_add(t1, d_high(v));
    }
    if (n < a.periods) {
      const vf u = v_load(a.x + n * a.period + column);
      s0 = d_add(s0, d_low(u));
      s1 = d_add(s1, d_high(u));
    }
    d_store(a.sum0 + column, d_add(s0, t0));
    d_store(a.sum0 + column + kDoubles, d_add(s1, t1));
  }
}

template <bool RELU>
inline void normalize(const ChannelPass& a) {
  for (ptrdiff_t n = 0; n < a.periods; ++n) {
    const float* x = a.x + n * a.period;
    float* y = a.out + n * a.period;
    for (ptrdiff_t c = 0; c < a.period; c += kLanes) {
      const vf r =
          v_fma(v_sub(v_load(x + c), v_load(a.mean + c)), v_load(a.scale + c), v_load(a.shift + c));
      v_store(y + c, RELU ? v_relu(r) : r);
    }
  }
}

void bn_normalize(const ChannelPass& a) {
  a.relu ? normalize<true>(a) : normalize<false>(a);
}

/// out = scale dy' + (inv_std (x - mean) + shift), with inv_std and shift already folded.
template <bool RELU>
inline void backward_apply(const ChannelPass& a) {
  for (ptrdiff_t n = 0; n < a.periods; ++n) {
    const ptrdiff_t i = n * a.period;
    for (ptrdiff_t c = 0; c < a.period; c += kLanes) {
      vf g = v_load(a.dy + i + c);
      if (RELU) g = v_where_positive(v_load(a.y + i + c), g);
      const vf t = v_fma(v_sub(v_load(a.x + i + c), v_load(a.mean + c)), v_load(a.inv_std + c),
                         v_load(a.shift + c));
      v_store(a.out + i + c, v_fma(v_load(a.scale + c), g, t));
    }
  }
}

void bn_backward_apply(const ChannelPass& a) {
  a.y ? backward_apply<true>(a) : backward_apply<false>(a);
}

void relu(const float* x, float* y, ptrdiff_t n) {
  each(n, [=](ptrdiff_t i, auto m) { put(y + i, v_relu(get(x + i, m)), m); });
}

void relu_backward(const float* y, const float* dy, float* dx, ptrdiff_t n) {
  each(n, [=](ptrdiff_t i, auto m) {
    put(dx + i, v_where_positive(get(y + i, m), get(dy + i, m)), m);
  });
}

void add(const float* a, const float* b, float* y, ptrdiff_t n, bool with_relu) {
  if (with_relu) {
    each(n,
         [=](ptrdiff_t i, auto m) { put(y + i, v_relu(v_add(get(a + i, m), get(b + i, m))), m); });
  } else {
    each(n, [=](ptrdiff_t i, auto m) { put(y + i, v_add(get(a + i, m), get(b + i, m)), m); });
  }
}

void axpby(float alpha, const float* x, float beta, float* y, ptrdiff_t n) {
  const vf va = v_set(alpha), vb = v_set(beta);
  if (beta == 0.0f) {
    each(n, [=](ptrdiff_t i, auto m) { put(y + i, v_mul(va, get(x + i, m)), m); });
  } else {
    each(n, [=](ptrdiff_t i, auto m) {
      put(y + i, v_fma(va, get(x + i, m), v_mul(vb, get(y + i, m))), m);
    });
  }
}

void scale_add(float alpha, const float* x, float* y, ptrdiff_t n) {
  const vf va = v_set(alpha);
  each(n, [=](ptrdiff_t i, auto m) { put(y + i, v_fma(va, get(x + i, m), get(y + i, m)), m); });
}

void fill(float value, float* y, ptrdiff_t n) {
  const vf v = v_set(value);
  each(n, [=](ptrdiff_t i, auto m) { put(y + i, v, m); });
}

void add_in_double(const float* x, double* y, ptrdiff_t n, bool add) {
  ptrdiff_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const vf u = v_load(x + i);
    double* p = y + i;
    d_store(p, add ? d_add(d_load(p), d_low(u)) : d_low(u));
    p += kDoubles;
    d_store(p, add ? d_add(d_load(p), d_high(u)) : d_high(u));
  }
  for (; i + kDoubles <= n; i += kDoubles) {
    const vd u = d_from_floats(x + i);
    d_store(y + i, add ? d_add(d_load(y + i), u) : u);
  }
  for (; i < n; ++i) y[i] = add ? y[i] + static_cast<double>(x[i]) : static_cast<double>(x[i]);
}

double dot(const float* a, const float* b, ptrdiff_t n) {
  vd s0 = d_zero(), s1 = d_zero();
  each(n, [&](ptrdiff_t i, auto m) {
    const vf u = get(a + i, m), v = get(b + i, m);
    s0 = d_fma(d_low(u), d_low(v), s0);
    s1 = d_fma(d_high(u), d_high(v), s1);
  });
  return d_sum(d_add(s0, s1));
}

/// sums[v] += what the v-th of V vectors of columns gives.
template <int V>
inline void dot_vectors(const float* a, ptrdiff_t a_row, const float* b, ptrdiff_t b_row,
                        ptrdiff_t rows, double* sums) {
  constexpr int kHalves = V * kLanes / kDoubles;
  vd s[kHalves];
#pragma GCC unroll 8
  for (int h = 0; h < kHalves; ++h) s[h] = d_zero();
  for (ptrdiff_t r = 0; r < rows; ++r, a += a_row, b += b_row) {
#pragma GCC unroll 8
    for (int h = 0; h < kHalves; ++h)
      s[h] = d_fma(d_from_floats(a + h * kDoubles), d_from_floats(b + h * kDoubles), s[h]);
  }
  for (int v = 0; v < V; ++v) sums[v] += d_sum(d_add(s[2 * v], s[2 * v + 1]));
}

void dot_columns(const float* a, ptrdiff_t a_row, const float* b, ptrdiff_t b_row, ptrdiff_t rows,
                 ptrdiff_t columns, double* sums) {
  ptrdiff_t i = 0;
  for (; i + 4 * kLanes <= columns; i += 4 * kLanes, sums += 4)
    dot_vectors<4>(a + i, a_row, b + i, b_row, rows, sums);
  for (; i + kLanes <= columns; i += kLanes, ++sums)
    dot_vectors<1>(a + i, a_row, b + i, b_row, rows, sums);
  for (; i < columns; ++i) {
    for (ptrdiff_t r = 0; r < rows; ++r)
      *sums += static_cast<double>(a[r * a_row + i]) * static_cast<double>(b[r * b_row + i]);
  }
}

/// kLanes gradient elements from either type, or the first n.
inline vf gradient(const float* g32, const double* g64, ptrdiff_t i) {
  return g32 ? v_load(g32 + i) : v_from_doubles(g64 + i);
}
inline vf gradient(const float* g32, const double* g64, ptrdiff_t i, ptrdiff_t /*n*/, Whole) {
  return gradient(g32, g64, i);
}
inline vf gradient(const float* g32, const double* g64, ptrdiff_t i, ptrdiff_t n, Part) {
  float first[kLanes] = {};
  for (ptrdiff_t k = 0; k < n; ++k) first[k] = g32 ? g32[i + k] : static_cast<float>(g64[i + k]);
  return v_load(first);
}

void narrow_add(const float* g32, const double* g64, float scale, const float* addend, float* y,
                ptrdiff_t n) {
  const vf s = v_set(scale);
  ptrdiff_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const vf g = gradient(g32, g64, i);
    v_store(y + i, addend ? v_fma(s, v_load(addend + i), g) : g);
  }
  for (; i < n; ++i) {
    const float g = g32 ? g32[i] : static_cast<float>(g64[i]);
    y[i] = addend ? g + scale * addend[i] : g;
  }
}

/// kDoubles elements of f64 or f32, as f64.
template <typename T>
inline vd d_get(const T* p) {
  if constexpr (sizeof(T) == sizeof(double)) {
    return d_load(p);
  } else {
    return d_from_floats(p);
  }
}

template <typename X, typename Y>
void axpby_in_double(double alpha, const X* x, double beta, Y* y, ptrdiff_t n) {
  const vd va = d_set(alpha), vb = d_set(beta);
  ptrdiff_t i = 0;
  for (; i + kDoubles <= n; i += kDoubles) {
    const vd old = beta != 0 ? d_mul(vb, d_get(y + i)) : d_zero();
    const vd sum = d_fma(va, d_get(x + i), old);
    if constexpr (sizeof(Y) == sizeof(double)) {
      d_store(y + i, sum);
    } else {
      d_to_floats(y + i, sum);
    }
  }
  for (; i < n; ++i) {
    const double old = beta != 0 ? beta * static_cast<double>(y[i]) : 0.0;
    y[i] = static_cast<Y>(__builtin_fma(alpha, static_cast<double>(x[i]), old));
  }
}

/// Weights that several cores have read are asked back so many elements before they are written.
constexpr ptrdiff_t kOwnAhead = 512;

// An element has the same bits wherever it stands, since a rank may update a part of a parameter.
void sgd(const Sgd& a) {
  const vf lr = v_set(-a.lr), momentum = v_set(a.momentum), l2 = v_set(a.l2), keep = v_set(a.keep),
           scale = v_set(a.scale);
  each(a.n, [&](ptrdiff_t i, auto lanes) {
    __builtin_prefetch(a.w + i + kOwnAhead, 1);
    const vf w = get(a.w + i, lanes);
    const vf g = v_fma(l2, w, v_mul(scale, gradient(a.g32, a.g64, i, a.n - i, lanes)));
    vf u = g;
    if (a.velocity) {
      const vf v = v_fma(momentum, get(a.velocity + i, lanes), g);
      put(a.velocity + i, v, lanes);
      u = a.nesterov ? v_fma(momentum, v, g) : v;
    }
    put(a.w + i, v_fma(lr, u, v_mul(keep, w)), lanes);
  });
}

void adam(const Adam& a) {
  const vf b1 = v_set(a.beta1), b2 = v_set(a.beta2), c1 = v_set(a.rest1), c2 = v_set(a.rest2),
           lr = v_set(-a.lr), l2 = v_set(a.l2), keep = v_set(a.keep), epsilon = v_set(a.epsilon),
           k1 = v_set(a.correct1), k2 = v_set(a.correct2);
  each(a.n, [&](ptrdiff_t i, auto lanes) {
    __builtin_prefetch(a.w + i + kOwnAhead, 1);
    const vf w = get(a.w + i, lanes);
    const vf g = v_fma(l2, w, gradient(a.g32, a.g64, i, a.n - i, lanes));
    const vf m = v_fma(b1, get(a.m + i, lanes), v_mul(c1, g));
    const vf v = v_fma(b2, get(a.v + i, lanes), v_mul(c2, v_mul(g, g)));
    put(a.m + i, m, lanes);
    put(a.v + i, v, lanes);
    const vf u = v_div(v_mul(m, k1), v_add(v_sqrt(v_mul(v, k2)), epsilon));
    put(a.w + i, v_fma(lr, u, v_mul(keep, w)), lanes);
  });
}

}  // namespace
