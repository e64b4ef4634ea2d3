// SPDX-License-Identifier: MIT
// Sums over ranks: adding, and elements as they travel. Included by each ISA unit after its
// vec_*.hpp.
#pragma once

#include "backends/simd/kernels.hpp"

namespace {

/// What a rank sends may lie anywhere in a message. The compiler takes whole vectors.
template <typename T>
void add_to(void* y, const void* x, ptrdiff_t n) {
  for (ptrdiff_t i = 0; i < n; ++i) {
    T sum, term;
    __builtin_memcpy(&sum, static_cast<T*>(y) + i, sizeof(T));
    __builtin_memcpy(&term, static_cast<const T*>(x) + i, sizeof(T));
    sum += term;
    __builtin_memcpy(static_cast<T*>(y) + i, &sum, sizeof(T));
  }
}

/// 16 bits of a float: of bf16 or of f16.
struct Brain {
  unsigned short bits;
};
struct Half {
  unsigned short bits;
};

/// Vectors of kLanes elements of any type, as floats.
inline vf load(const float* p) {
  return v_load(p);
}
inline vf load(const double* p) {
  return v_from_doubles(p);
}
inline vf load(const Brain* p) {
  return v_from_bf16(p);
}
inline vf load(const Half* p) {
  return v_from_f16(p);
}
inline void store(float* p, vf a) {
  v_store(p, a);
}
inline void store(double* p, vf a) {
  d_store(p, d_low(a));
  d_store(p + kDoubles, d_high(a));
}
inline void store(Brain* p, vf a) {
  v_to_bf16(p, a);
}
inline void store(Half* p, vf a) {
  v_to_f16(p, a);
}

template <typename From, typename To>
void convert(const void* x, void* y, ptrdiff_t n) {
  const From* from = static_cast<const From*>(x);
  To* to = static_cast<To*>(y);
  ptrdiff_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(to + i, load(from + i));
  if (i == n) return;
  From rest[kLanes] = {};
  To out[kLanes];
  const auto count = static_cast<size_t>(n - i);
  __builtin_memcpy(rest, from + i, count * sizeof(From));
  store(out, load(rest));
  __builtin_memcpy(to + i, out, count * sizeof(To));
}

template <typename T>
constexpr isaribi::simd::WireKernels wire_kernels() {
  return {{convert<T, float>, convert<T, Brain>, convert<T, Half>},
          {convert<float, T>, convert<Brain, T>, convert<Half, T>}};
}

}  // namespace
