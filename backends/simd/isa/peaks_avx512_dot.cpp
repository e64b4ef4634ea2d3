// SPDX-License-Identifier: MIT
// The peak loops of AVX-512 BF16 and VNNI. Compiled with its own flags, so no header of the
// standard library beyond <stddef.h> may be included here.
#include "backends/simd/isa/vec_avx512.hpp"
// vectors first, then:
#include "backends/simd/isa/peaks.hpp"

namespace isaribi::simd {
namespace {

constexpr int kDotChains = 24;  // vdpbf16ps: latency 6, two per cycle, and some to spare

}  // namespace

double bf16_dot_chain(ptrdiff_t rounds) {
  const __m512bh pairs = reinterpret_cast<__m512bh>(_mm512_setzero_si512());
  run_chains<kDotChains>(rounds, v_zero(), [&](vf a) { return _mm512_dpbf16_ps(a, pairs, pairs); });
  return 2.0 * 2 * kDotChains * kLanes * static_cast<double>(rounds);
}

double int8_dot_chain(ptrdiff_t rounds) {
  const vi fours = _mm512_set1_epi8(1);
  run_chains<kDotChains>(rounds, fours, [&](vi a) { return _mm512_dpbusd_epi32(a, fours, fours); });
  return 2.0 * 4 * kDotChains * kLanes * static_cast<double>(rounds);
}

}  // namespace isaribi::simd
