// SPDX-License-Identifier: MIT
// Vectors of the AVX2 + FMA level: 8 floats. Internal linkage throughout (see vec_avx512.hpp).
#pragma once

#include <immintrin.h>
#include <stddef.h>

namespace {

using vf = __m256;
using vd = __m256d;
using vi = __m256i;
using vmask = __m256i;
constexpr int kLanes = 8;
constexpr int kTileRows[5] = {0, 10, 6, 4, 3};   // 10 to 12 accumulators of 16 registers
constexpr int kOuterRows[5] = {0, 10, 6, 4, 3};  // 12 x 1 is not faster
constexpr int kGemmVectors = 3;                  // 4 x 24
constexpr int kGemmDepth = 1024;                 // beginning and ending a small tile is felt
constexpr int kColumnAccumulators = 12;

alignas(64) constexpr int kFirst[16] = {-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0};

inline vf v_zero() {
  return _mm256_setzero_ps();
}
inline vf v_set(float a) {
  return _mm256_set1_ps(a);
}
inline vf v_load(const float* p) {
  return _mm256_loadu_ps(p);
}
inline void v_store(float* p, vf a) {
  _mm256_storeu_ps(p, a);
}
/// The first n lanes (0 <= n <= kLanes).
inline vmask v_first(int n) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(kFirst + 8 - n));
}
inline vf v_load(const float* p, vmask m) {
  return _mm256_maskload_ps(p, m);
}
inline void v_store(float* p, vf a, vmask m) {
  _mm256_maskstore_ps(p, m, a);
}
inline vf v_add(vf a, vf b) {
  return _mm256_add_ps(a, b);
}
inline vf v_sub(vf a, vf b) {
  return _mm256_sub_ps(a, b);
}
inline vf v_mul(vf a, vf b) {
  return _mm256_mul_ps(a, b);
}
inline vf v_div(vf a, vf b) {
  return _mm256_div_ps(a, b);
}
inline vf v_sqrt(vf a) {
  return _mm256_sqrt_ps(a);
}
inline vf v_fma(vf a, vf b, vf c) {
  return _mm256_fmadd_ps(a, b, c);
}
/// acc += a b, in the register of acc: left to itself the compiler lets sums change places with
/// factors, for which a loop that uses all registers has no room.
inline void v_fma_to(vf& acc, vf a, vf b) {
  asm("vfmadd231ps %2, %1, %0" : "+x"(acc) : "x"(a), "x"(b));
}
/// Lane i takes lane from[i] of a.
inline vf v_permute(vi from, vf a) {
  return _mm256_permutevar8x32_ps(a, from);
}
/// i ^ d of each lane i.
inline vi i_partners(int d) {
  return _mm256_xor_si256(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_set1_epi32(d));
}
inline vf v_relu(vf a) {
  return _mm256_max_ps(_mm256_setzero_ps(), a);
}
inline vf v_where_positive(vf g, vf a) {
  return _mm256_and_ps(_mm256_cmp_ps(g, _mm256_setzero_ps(), _CMP_GT_OQ), a);
}
inline vmask v_beats(vf candidate, vf best) {
  return _mm256_castps_si256(_mm256_and_ps(_mm256_cmp_ps(candidate, best, _CMP_NLE_UQ),
                                           _mm256_cmp_ps(best, best, _CMP_ORD_Q)));
}
inline vf v_blend(vmask m, vf a, vf b) {
  return _mm256_blendv_ps(a, b, _mm256_castsi256_ps(m));
}
/// Lanes D, D + 1 .. of a, then the first D of b.
template <int D>
inline vf v_shift(vf a, vf b) {
  const __m256i low = _mm256_castps_si256(a), high = _mm256_castps_si256(b);
  const __m256i middle = _mm256_permute2x128_si256(low, high, 0x21);
  if constexpr (D < 4) return _mm256_castsi256_ps(_mm256_alignr_epi8(middle, low, 4 * D));
  return _mm256_castsi256_ps(_mm256_alignr_epi8(high, middle, 4 * (D % 4)));
}
inline vi i_set(int a) {
  return _mm256_set1_epi32(a);
}
inline vi i_load(const int* p) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}
inline void i_store(int* p, vi a) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), a);
}
inline vi i_load(const int* p, vmask m) {
  return _mm256_maskload_epi32(p, m);
}
inline void i_store(int* p, vi a, vmask m) {
  _mm256_maskstore_epi32(p, m, a);
}
inline vi i_blend(vmask m, vi a, vi b) {
  return _mm256_blendv_epi8(a, b, m);
}
inline vmask i_equal(vi a, vi b) {
  return _mm256_cmpeq_epi32(a, b);
}
inline vf v_keep(vmask m, vf a) {
  return _mm256_and_ps(_mm256_castsi256_ps(m), a);
}

constexpr int kDoubles = 4;
inline vd d_zero() {
  return _mm256_setzero_pd();
}
inline vd d_load(const double* p) {
  return _mm256_loadu_pd(p);
}
inline void d_store(double* p, vd a) {
  _mm256_storeu_pd(p, a);
}
inline vd d_add(vd a, vd b) {
  return _mm256_add_pd(a, b);
}
inline vd d_mul(vd a, vd b) {
  return _mm256_mul_pd(a, b);
}
inline vd d_fma(vd a, vd b, vd c) {
  return _mm256_fmadd_pd(a, b, c);
}
inline vd d_low(vf a) {
  return _mm256_cvtps_pd(_mm256_castps256_ps128(a));
}
inline vd d_high(vf a) {
  return _mm256_cvtps_pd(_mm256_extractf128_ps(a, 1));
}
/// kDoubles floats from memory.
inline vd d_from_floats(const float* p) {
  return _mm256_cvtps_pd(_mm_loadu_ps(p));
}
/// kLanes doubles rounded to floats.
inline vd d_set(double a) {
  return _mm256_set1_pd(a);
}
inline void d_to_floats(float* p, vd a) {
  _mm_storeu_ps(p, _mm256_cvtpd_ps(a));
}
inline vf v_from_doubles(const double* p) {
  return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm256_cvtpd_ps(_mm256_loadu_pd(p))),
                              _mm256_cvtpd_ps(_mm256_loadu_pd(p + 4)), 1);
}

/// kLanes elements of 16 bits; to nearest even, a NaN stays one and becomes quiet.
inline vf v_from_bf16(const void* p) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(
      _mm256_cvtepu16_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p))), 16));
}
inline void v_to_bf16(void* p, vf a) {
  const vi bits = _mm256_castps_si256(a), high = _mm256_srli_epi32(bits, 16);
  const vi odd = _mm256_and_si256(high, i_set(1));
  const vi near =
      _mm256_srli_epi32(_mm256_add_epi32(_mm256_add_epi32(bits, i_set(0x7fff)), odd), 16);
  const vi quiet = _mm256_or_si256(high, i_set(0x40));
  const vi nan = _mm256_castps_si256(_mm256_cmp_ps(a, a, _CMP_UNORD_Q));
  const vi out = _mm256_blendv_epi8(near, quiet, nan);
  const vi packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(out, out), 0x08);
  _mm_storeu_si128(static_cast<__m128i*>(p), _mm256_castsi256_si128(packed));
}
inline vf v_from_f16(const void* p) {
  return _mm256_cvtph_ps(_mm_loadu_si128(static_cast<const __m128i*>(p)));
}
inline void v_to_f16(void* p, vf a) {
  _mm_storeu_si128(static_cast<__m128i*>(p), _mm256_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT));
}

}  // namespace
