// SPDX-License-Identifier: MIT
#include "backends/simd/peaks.hpp"

#include <string>

#include "backends/api/probe.hpp"
#include "backends/simd/cpu.hpp"

namespace isaribi::simd {

api::Probes peak_probes() {
  api::Probes probes;
  for (const Level& level : available_levels()) {
    const std::string isa = level.kernels->isa;
    const PeakLoops& loops = isa == "avx512" ? avx512_peaks() : avx2_peaks();
    probes.compute.push_back({isa, "f32 FMA", loops.f32_fma});
    probes.compute.push_back({isa, "f64 FMA", loops.f64_fma});
    probes.stream.push_back({isa, loops.read, loops.update});
    if (isa != "avx512") continue;
    if (__builtin_cpu_supports("avx512bf16"))
      probes.compute.push_back({isa, "bf16 dot", bf16_dot_chain});
    if (__builtin_cpu_supports("avx512vnni"))
      probes.compute.push_back({isa, "int8 dot", int8_dot_chain});
  }
  return probes;
}

}  // namespace isaribi::simd
