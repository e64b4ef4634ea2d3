// SPDX-License-Identifier: MIT
// The AVX-512 level: its vectors, then the kernels every level shares. Compiled with its own flags,
// so no header of the standard library beyond <stddef.h> may be included here.
#include "backends/simd/isa/vec_avx512.hpp"
// vectors first, then:
#include "backends/simd/isa/table.hpp"

namespace isaribi::simd {

const Kernels& avx512_kernels() {
  static constexpr Kernels table = kernel_table("avx512");
  return table;
}

}  // namespace isaribi::simd
