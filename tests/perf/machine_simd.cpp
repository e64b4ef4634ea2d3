// SPDX-License-Identifier: MIT
// The FMA peak by the kernels of the widest instruction set, whatever level the backend runs.
#include <omp.h>

#include <algorithm>

#include "backends/simd/cpu.hpp"
#include "core/timer.hpp"
#include "machine.hpp"

namespace isaribi::perf {

double fma_gflops() {
  const auto levels = simd::available_levels();
  double best = 0;
  for (const simd::Level& level : levels) {
    for (int repeat = 0; repeat < 8; ++repeat) {
      double flops = 0;
      const double start = core::now_seconds();
#pragma omp parallel reduction(+ : flops)
      flops += level.kernels->fma_chain(1000000);
      best = std::max(best, flops / (core::now_seconds() - start) * 1e-9);
    }
  }
  return best;
}

}  // namespace isaribi::perf
