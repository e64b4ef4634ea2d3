// SPDX-License-Identifier: MIT
// What the machine can do at most: the denominators of "share of peak".
#pragma once

#include <string>

namespace isaribi::perf {

/// "AMD EPYC 9554 (family 25, model 17)", from /proc/cpuinfo.
std::string cpu_name();
/// Fused multiply-adds in registers on all threads, GFLOP/s f32; 0 when this build has no kernels
/// to measure it with. machine_simd.cpp or machine_portable.cpp
double fma_gflops();
/// Large arrays read and written by all threads (a = b + c), GB/s, three streams counted.
double memory_gbs();

}  // namespace isaribi::perf
