// SPDX-License-Identifier: MIT
// Vectors of the AVX-512 (F, BW, DQ, VL) level: 16 floats. Internal linkage throughout, so that no
// function compiled with these flags can be kept for the rest of the program.
#pragma once

#include <immintrin.h>
#include <stddef.h>

namespace {

using vf = __m512;
using vd = __m512d;
using vi = __m512i;
using vmask = __mmask16;
constexpr int kLanes = 16;
constexpr int kTileRows[5] = {0, 14, 14, 9, 6};   // 28, 27, 24 accumulators + weights + broadcast
constexpr int kOuterRows[5] = {0, 16, 14, 9, 6};  // a band of SYRK, 16 channels
constexpr int kGemmVectors = 4;                   // 6 x 64: few rows of C, as few pages
constexpr int kGemmDepth = 512;                   // a panel of B is half of an L2 of 256 KiB
constexpr int kColumnAccumulators = 27;

inline vf v_zero() {
  return _mm512_setzero_ps();
}
inline vf v_set(float a) {
  return _mm512_set1_ps(a);
}
inline vf v_load(const float* p) {
  return _mm512_loadu_ps(p);
}
inline void v_store(float* p, vf a) {
  _mm512_storeu_ps(p, a);
}
/// The first n lanes (0 <= n <= kLanes).
inline vmask v_first(int n) {
  return static_cast<vmask>((1u << n) - 1u);
}
inline vf v_load(const float* p, vmask m) {
  return _mm512_maskz_loadu_ps(m, p);
}
inline void v_store(float* p, vf a, vmask m) {
  _mm512_mask_storeu_ps(p, m, a);
}
inline vf v_add(vf a, vf b) {
  return _mm512_add_ps(a, b);
}
inline vf v_sub(vf a, vf b) {
  return _mm512_sub_ps(a, b);
}
inline vf v_mul(vf a, vf b) {
  return _mm512_mul_ps(a, b);
}
inline vf v_div(vf a, vf b) {
  return _mm512_div_ps(a, b);
}
inline vf v_sqrt(vf a) {
  return _mm512_maskz_sqrt_ps(static_cast<vmask>(0xffff), a);
}
inline vf v_fma(vf a, vf b, vf c) {
  return _mm512_fmadd_ps(a, b, c);
}
/// acc += a b, in the register of acc: left to itself the compiler lets sums change places with
/// factors, for which a loop that uses all registers has no room.
inline void v_fma_to(vf& acc, vf a, vf b) {
  asm("vfmadd231ps %2, %1, %0" : "+v"(acc) : "v"(a), "v"(b));
}
/// Lane i takes lane from[i] of a.
inline vf v_permute(vi from, vf a) {
  return _mm512_maskz_permutexvar_ps(static_cast<vmask>(0xffff), from, a);
}
/// i ^ d of each lane i.
inline vi i_partners(int d) {
  const vi lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  return _mm512_xor_si512(lanes, _mm512_set1_epi32(d));
}
/// max(a, 0), and NaN stays NaN (the second operand of maxps wins when one is NaN).
inline vf v_relu(vf a) {
  return _mm512_maskz_max_ps(static_cast<vmask>(0xffff), _mm512_setzero_ps(), a);
}
/// a where g > 0, else 0.
inline vf v_where_positive(vf g, vf a) {
  return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(g, _mm512_setzero_ps(), _CMP_GT_OQ), a);
}
/// Lanes where candidate replaces best: larger, or NaN while best is not.
inline vmask v_beats(vf candidate, vf best) {
  return static_cast<vmask>(_mm512_cmp_ps_mask(candidate, best, _CMP_NLE_UQ) &
                            _mm512_cmp_ps_mask(best, best, _CMP_ORD_Q));
}
inline vf v_blend(vmask m, vf a, vf b) {
  return _mm512_mask_blend_ps(m, a, b);
}  // m ? b : a
/// Lanes D, D + 1 .. of a, then the first D of b.
template <int D>
inline vf v_shift(vf a, vf b) {
  return _mm512_castsi512_ps(_mm512_maskz_alignr_epi32(
      static_cast<vmask>(0xffff), _mm512_castps_si512(b), _mm512_castps_si512(a), D));
}
inline vi i_set(int a) {
  return _mm512_set1_epi32(a);
}
inline vi i_load(const int* p) {
  return _mm512_loadu_si512(p);
}
inline void i_store(int* p, vi a) {
  _mm512_storeu_si512(p, a);
}
inline vi i_load(const int* p, vmask m) {
  return _mm512_maskz_loadu_epi32(m, p);
}
inline void i_store(int* p, vi a, vmask m) {
  _mm512_mask_storeu_epi32(p, m, a);
}
inline vi i_blend(vmask m, vi a, vi b) {
  return _mm512_mask_blend_epi32(m, a, b);
}
inline vmask i_equal(vi a, vi b) {
  return _mm512_cmpeq_epi32_mask(a, b);
}
inline vf v_keep(vmask m, vf a) {
  return _mm512_maskz_mov_ps(m, a);
}

constexpr int kDoubles = 8;
inline vd d_zero() {
  return _mm512_setzero_pd();
}
inline vd d_load(const double* p) {
  return _mm512_loadu_pd(p);
}
inline void d_store(double* p, vd a) {
  _mm512_storeu_pd(p, a);
}
inline vd d_add(vd a, vd b) {
  return _mm512_add_pd(a, b);
}
inline vd d_mul(vd a, vd b) {
  return _mm512_mul_pd(a, b);
}
inline vd d_fma(vd a, vd b, vd c) {
  return _mm512_fmadd_pd(a, b, c);
}
inline vd d_low(vf a) {
  return _mm512_maskz_cvtps_pd(static_cast<__mmask8>(0xff),
                               _mm512_maskz_extractf32x8_ps(static_cast<__mmask8>(0xff), a, 0));
}
inline vd d_high(vf a) {
  return _mm512_maskz_cvtps_pd(static_cast<__mmask8>(0xff),
                               _mm512_maskz_extractf32x8_ps(static_cast<__mmask8>(0xff), a, 1));
}
/// kDoubles floats from memory.
inline vd d_from_floats(const float* p) {
  return _mm512_maskz_cvtps_pd(static_cast<__mmask8>(0xff), _mm256_loadu_ps(p));
}
inline vd d_set(double a) {
  return _mm512_set1_pd(a);
}
/// kDoubles floats to memory.
inline void d_to_floats(float* p, vd a) {
  _mm256_storeu_ps(p, _mm512_maskz_cvtpd_ps(static_cast<__mmask8>(0xff), a));
}
/// kLanes doubles rounded to floats.
inline vf v_from_doubles(const double* p) {
  const __m256 low = _mm512_maskz_cvtpd_ps(static_cast<__mmask8>(0xff), _mm512_loadu_pd(p));
  const __m256 high = _mm512_maskz_cvtpd_ps(static_cast<__mmask8>(0xff), _mm512_loadu_pd(p + 8));
  return _mm512_maskz_insertf32x8(static_cast<vmask>(0xffff), _mm512_castps256_ps512(low), high, 1);
}

/// kLanes elements of 16 bits; to nearest even, a NaN stays one and becomes quiet. (With a mask of
/// all lanes: GCC 12 takes the forms without one for uses of uninitialised values.)
constexpr vmask kAll = 0xffff;
inline vi i_from_u16(const void* p) {
  return _mm512_maskz_cvtepu16_epi32(kAll, _mm256_loadu_si256(static_cast<const __m256i*>(p)));
}
inline vf v_from_bf16(const void* p) {
  return _mm512_castsi512_ps(_mm512_maskz_slli_epi32(kAll, i_from_u16(p), 16));
}
inline void v_to_bf16(void* p, vf a) {
  const vi bits = _mm512_castps_si512(a), high = _mm512_maskz_srli_epi32(kAll, bits, 16);
  const vi odd = _mm512_and_si512(high, i_set(1));
  const vi up = _mm512_add_epi32(_mm512_add_epi32(bits, i_set(0x7fff)), odd);
  const vi near = _mm512_maskz_srli_epi32(kAll, up, 16);
  const vi quiet = _mm512_or_si512(high, i_set(0x40));
  const vi out = _mm512_mask_mov_epi32(near, _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q), quiet);
  _mm256_storeu_si256(static_cast<__m256i*>(p), _mm512_maskz_cvtepi32_epi16(kAll, out));
}
inline vf v_from_f16(const void* p) {
  return _mm512_maskz_cvtph_ps(kAll, _mm256_loadu_si256(static_cast<const __m256i*>(p)));
}
inline void v_to_f16(void* p, vf a) {
  constexpr int kNearestEven = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
  _mm256_storeu_si256(static_cast<__m256i*>(p), _mm512_maskz_cvtps_ph(kAll, a, kNearestEven));
}

}  // namespace
