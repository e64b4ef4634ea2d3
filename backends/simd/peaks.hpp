// SPDX-License-Identifier: MIT
// The loops that measure this CPU, one set per instruction set: plain function pointers, so that
// the per-ISA units need no library header. See api::Probes for what each loop does.
#pragma once

#include <stddef.h>

namespace isaribi::api {
struct Probes;
}

namespace isaribi::simd {

struct PeakLoops {
  double (*f32_fma)(ptrdiff_t rounds);
  double (*f64_fma)(ptrdiff_t rounds);
  void (*read)(const float* x, ptrdiff_t n);
  void (*update)(float* y, const float* x, ptrdiff_t n);
};
const PeakLoops& avx2_peaks();
const PeakLoops& avx512_peaks();

/// Dot products of AVX-512 BF16 (vdpbf16ps) and VNNI (vpdpbusd): 2 and 4 multiply-adds per lane.
double bf16_dot_chain(ptrdiff_t rounds);
double int8_dot_chain(ptrdiff_t rounds);

/// The loops that this CPU has.
api::Probes peak_probes();

}  // namespace isaribi::simd
