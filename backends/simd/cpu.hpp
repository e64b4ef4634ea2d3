// SPDX-License-Identifier: MIT
// Which instruction-set levels this CPU has, and which of them is used.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "backends/simd/kernels.hpp"

namespace isaribi::simd {

/// Data caches in bytes: what one hardware thread may call its own of each (a shared cache is
/// divided by the threads that share it). From CPUID, read once; where it tells nothing, or
/// something beyond belief, the sizes of a small CPU of 2013.
struct Caches {
  std::int64_t l1 = 32 << 10, l2 = 256 << 10, l3 = 2 << 20;
};
const Caches& caches();

/// A level with its measured speed.
struct Level {
  const Kernels* kernels = nullptr;
  double gflops = 0;  ///< of the convolution tile in cache, one thread; 0 when not timed
};

/// Levels of this build that the CPU and the operating system support, narrowest first.
std::vector<Level> available_levels();

/// The same, timed for some milliseconds, the one to take first: the widest, unless a narrower one
/// is clearly faster. The choice is a measurement: ranks that must round alike agree on one of them
/// (api::Entry::isa_levels), they do not each choose.
std::vector<Level> rank_levels();
/// Writes the measured gflops of each level.
using TimeLevels = std::function<void(std::vector<Level>&)>;
/// The rule behind it: a narrower level comes first only if it is clearly faster in every one of
/// some rounds, `pause` apart. @param levels narrowest first
std::vector<Level> rank_levels(std::vector<Level> levels, const TimeLevels& time,
                               std::chrono::milliseconds pause);

/// The level called `wanted`, or for an empty one the first of rank_levels(). @throws UsageError
/// for a name that is unknown or that this CPU lacks, with the list of those it has.
Level choose_level(const std::string& wanted);

}  // namespace isaribi::simd
