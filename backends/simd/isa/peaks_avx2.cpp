// SPDX-License-Identifier: MIT
// The peak loops of the AVX2 level. Compiled with its own flags, so no header of the standard
// library beyond <stddef.h> may be included here.
#include "backends/simd/isa/vec_avx2.hpp"
// vectors first, then:
#include "backends/simd/isa/peaks.hpp"

namespace isaribi::simd {

const PeakLoops& avx2_peaks() {
  static constexpr PeakLoops loops = peak_loops();
  return loops;
}

}  // namespace isaribi::simd
