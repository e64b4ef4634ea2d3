// SPDX-License-Identifier: MIT
// Loops over channels or elements whose number is no multiple of the vector length. Included by
// each ISA unit after its vec_*.hpp.
#pragma once

#include <stddef.h>

namespace {

/// A whole vector, or its first lanes: kernels are written once for both. (A masked store costs
/// tens of cycles on AMD without AVX-512, so whole vectors must not use one.)
struct Whole {};
struct Part {
  vmask mask;
};
inline vf get(const float* p, Whole) {
  return v_load(p);
}
inline vf get(const float* p, Part part) {
  return v_load(p, part.mask);
}
inline void put(float* p, vf a, Whole) {
  v_store(p, a);
}
inline void put(float* p, vf a, Part part) {
  v_store(p, a, part.mask);
}

/// `a` in the lanes that count, 0 in the others.
inline vf only(vf a, Whole) {
  return a;
}
inline vf only(vf a, Part part) {
  return v_keep(part.mask, a);
}
/// The lanes of `a`, first to last.
inline double d_sum(vd a) {
  double lanes[kDoubles], sum = 0;
  d_store(lanes, a);
  for (const double lane : lanes) sum += lane;
  return sum;
}

inline vi get(const int* p, Whole) {
  return i_load(p);
}
inline vi get(const int* p, Part part) {
  return i_load(p, part.mask);
}
inline void put(int* p, vi a, Whole) {
  i_store(p, a);
}
inline void put(int* p, vi a, Part part) {
  i_store(p, a, part.mask);
}

/// Runs f(i, Whole or Part) over n elements.
template <class F>
inline void each(ptrdiff_t n, const F& f) {
  ptrdiff_t i = 0;
  for (; i + kLanes <= n; i += kLanes) f(i, Whole{});
  if (i < n) f(i, Part{v_first(static_cast<int>(n - i))});
}

}  // namespace
