// SPDX-License-Identifier: MIT
// tanh and the Bernoulli cross-entropy on vectors. tanh: near 0 the odd polynomial of Cephes
// (Moshier, tanhf.c), which keeps the relative error; beyond, 1 - 2 / (exp(2 |x|) + 1), with exp by
// the usual reduction to |r| <= ln(2) / 2 and its Taylor polynomial. Included by each ISA unit
// after its vec_*.hpp.
#pragma once

#include <stddef.h>

#include "backends/simd/isa/lanes.hpp"

namespace {

/// The bits of a vf, with the operators of the compiler's vectors.
typedef int vbits __attribute__((vector_size(sizeof(vf))));

inline vf v_horner(vf z, const float* coefficients, int n) {
  vf p = v_set(coefficients[0]);
  for (int i = 1; i < n; ++i) p = v_fma(p, z, v_set(coefficients[i]));
  return p;
}

/// exp(t) for 0 <= t <= 80: 2^n exp(r), t = n ln(2) + r.
inline vf v_exp_of_positive(vf t) {
  // Adding 1.5 * 2^23 leaves the nearest integer in the last bits of the mantissa.
  const vf shift = v_set(12582912.0f);
  const vf shifted = v_fma(t, v_set(1.44269504f), shift);
  const vf n = v_sub(shifted, shift);
  // ln(2) in two parts, so that n times the first is exact.
  const vf r = v_fma(n, v_set(2.12194440e-4f), v_fma(n, v_set(-0.693359375f), t));
  static constexpr float kTaylor[] = {1.0f / 5040, 1.0f / 720, 1.0f / 120, 1.0f / 24,
                                      1.0f / 6,    0.5f,       1.0f,       1.0f};
  const vbits power = (reinterpret_cast<vbits>(shifted) << 23) + 0x3f800000;
  return v_mul(v_horner(r, kTaylor, 8), reinterpret_cast<vf>(power));
}

inline vf v_tanh(vf x) {
  static constexpr float kOdd[] = {-5.70498872745e-3f, 2.06390887954e-2f, -5.37397155531e-2f,
                                   1.33314422036e-1f, -3.33332819422e-1f};
  const vbits bits = reinterpret_cast<vbits>(x);
  const vf size = reinterpret_cast<vf>(bits & 0x7fffffff);
  const vf most = v_set(10.0f);  // tanh is 1 to rounding from 9.02 on
  const vf bounded = size < most ? size : most;
  const vf z = v_mul(x, x);
  const vf near = v_fma(v_mul(v_horner(z, kOdd, 5), z), x, x);
  const vf one = v_set(1.0f);
  const vf e = v_exp_of_positive(v_add(bounded, bounded));
  const vf far = v_sub(one, v_div(v_set(2.0f), v_add(e, one)));
  const vf signed_far = reinterpret_cast<vf>(reinterpret_cast<vbits>(far) | (bits & ~0x7fffffff));
  const vf result = size < v_set(0.625f) ? near : signed_far;
  return x == x ? result : x;  // NaN stays NaN
}

/// Of z and its target: softplus(z) - target z, and sigmoid(z). With e = exp(|z|),
/// log(1 + 1 / e) = 2 artanh(s), s = 1 / (2 e + 1) <= 1/3: its Taylor polynomial is exact to 1e-9.
struct CrossEntropy {
  vf loss, sigmoid;
};
inline CrossEntropy v_cross_entropy(vf z, vf target) {
  static constexpr float kArtanh[] = {2.0f / 15, 2.0f / 13, 2.0f / 11, 2.0f / 9,
                                      2.0f / 7,  2.0f / 5,  2.0f / 3,  2.0f};
  const vf size = reinterpret_cast<vf>(reinterpret_cast<vbits>(z) & 0x7fffffff);
  const vf most = v_set(80.0f);  // exp(-80) vanishes beside 1 and beside z
  const vf one = v_set(1.0f), e = v_exp_of_positive(size < most ? size : most);
  const vf s = v_div(one, v_add(v_add(e, e), one));
  // Beyond 30 the square is nothing beside 1; further on it would underflow, which is slow.
  const vf squared = size < v_set(30.0f) ? s : v_zero();
  const vf log = v_mul(s, v_horner(v_mul(squared, squared), kArtanh, 8));
  const vf loss = v_sub(v_add(v_relu(z), log), v_mul(target, z));
  const vf small = v_div(one, v_add(e, one));
  const vf sigmoid = z < v_zero() ? small : v_sub(one, small);
  return {loss, z == z ? sigmoid : z};
}

/// The sum of n losses, in f64; dz = scale (sigmoid(z) - t), or nullptr.
double bernoulli_row(const float* z, const float* t, float* dz, ptrdiff_t n, float scale) {
  vd low = d_zero(), high = d_zero();
  const vf factor = v_set(scale);
  each(n, [&](ptrdiff_t i, auto part) {
    const vf target = get(t + i, part);
    const CrossEntropy c = v_cross_entropy(get(z + i, part), target);
    const vf loss = only(c.loss, part);
    low = d_add(low, d_low(loss));
    high = d_add(high, d_high(loss));
    if (dz) put(dz + i, v_mul(factor, v_sub(c.sigmoid, target)), part);
  });
  return d_sum(d_add(low, high));
}

void tanh_backward(const float* y, const float* dy, float* dx, ptrdiff_t n) {
  const vf one = v_set(1.0f);
  each(n, [&](ptrdiff_t i, auto part) {
    const vf v = get(y + i, part);
    put(dx + i, v_mul(get(dy + i, part), v_sub(one, v_mul(v, v))), part);
  });
}

void tanh_pass(const float* x, float* y, ptrdiff_t n) {
  each(n, [&](ptrdiff_t i, auto part) { put(y + i, v_tanh(get(x + i, part)), part); });
}

}  // namespace
