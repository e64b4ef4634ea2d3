// SPDX-License-Identifier: MIT
// Loops that show what one kind of unit of the CPU can do: the denominators of "share of peak". A
// backend that has code per instruction set hands them out with its registration (Entry::probes),
// backends/selftest/machine.hpp times them. Plain function pointers, since the loops live in units
// compiled for one instruction set.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace isaribi::api {

/// `rounds` rounds of independent multiply-adds in registers. Returns the operations done, two per
/// multiply-add of one pair of elements.
struct ComputeProbe {
  std::string isa;   ///< "avx512": the level it is compiled for
  std::string what;  ///< "f32 FMA", "f64 FMA", "bf16 dot", "int8 dot"
  double (*run)(std::ptrdiff_t rounds) = nullptr;
};

/// Passes over memory at the full width of one instruction set; n is a multiple of kStreamGrain.
struct StreamProbe {
  std::string isa;
  void (*read)(const float* x, std::ptrdiff_t n) = nullptr;  ///< loads every element
  /// y[i] += s x[i]: two loads and a store in place, which no cache has to fetch a line for.
  void (*update)(float* y, const float* x, std::ptrdiff_t n) = nullptr;
};
inline constexpr std::ptrdiff_t kStreamGrain = 128;

struct Probes {
  std::vector<ComputeProbe> compute;
  std::vector<StreamProbe> stream;
};

}  // namespace isaribi::api
