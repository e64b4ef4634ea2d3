// SPDX-License-Identifier: MIT
// Which instruction-set levels this CPU has, and which of them is used.
#pragma once

#include <string>
#include <vector>

#include "backends/simd/kernels.hpp"

namespace isaribi::simd {

/// A level with its measured speed.
struct Level {
  const Kernels* kernels = nullptr;
  double gflops = 0;  ///< of the convolution tile in cache, one thread; 0 when not timed
};

/// Levels of this build that the CPU and the operating system support, narrowest first.
std::vector<Level> available_levels();

/// The level called `wanted`, or for an empty one the fastest as measured in about a millisecond.
/// @throws UsageError for a name that is unknown or that this CPU lacks, with the list of those it
/// has.
Level choose_level(const std::string& wanted);

}  // namespace isaribi::simd
