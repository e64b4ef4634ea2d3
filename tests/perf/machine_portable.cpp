// SPDX-License-Identifier: MIT
// Without the simd backend there are no kernels to measure the peak with.
#include "machine.hpp"

namespace isaribi::perf {

double fma_gflops() {
  return 0;
}

}  // namespace isaribi::perf
