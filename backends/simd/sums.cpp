// SPDX-License-Identifier: MIT
#include "backends/simd/sums.hpp"

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "backends/simd/cpu.hpp"

namespace isaribi::simd {
namespace {

using core::DType;

template <std::size_t width>
void copy(const void* x, void* y, std::int64_t n) {
  if (n > 0) std::memcpy(y, x, static_cast<std::size_t>(n) * width);
}

/// Null on a CPU without any level. A level that this CPU lacks is for others to complain about.
const Kernels* preferred() {
  const char* forced = std::getenv("ISARIBI_ISA");
  const Kernels* found = nullptr;
  for (const Level& level : available_levels()) {  // narrowest first
    found = level.kernels;
    if (forced != nullptr && found->isa == std::string_view(forced)) break;
  }
  return found;
}

int index_of(DType wire) {
  return wire == DType::f32 ? 0 : wire == DType::bf16 ? 1 : wire == DType::f16 ? 2 : -1;
}

}  // namespace

core::SumKernels sum_kernels(const Kernels& kernels, DType type, DType wire) {
  const bool wide = type == DType::f64;
  if (wide && wire == type) return {kernels.add_f64, copy<8>, copy<8>};
  if (type == DType::f32 && wire == type) return {kernels.add_f32, copy<4>, copy<4>};
  if (type == DType::i32 && wire == type) return {kernels.add_i32, copy<4>, copy<4>};
  const int i = index_of(wire);
  if (i < 0 || (!wide && type != DType::f32)) return {};
  const WireKernels& travel = wide ? kernels.wire_f64 : kernels.wire_f32;
  return {wide ? kernels.add_f64 : kernels.add_f32, travel.narrow[i], travel.widen[i]};
}

core::SumKernels sum_kernels(DType type, DType wire) {
  static const Kernels* const kernels = preferred();
  return kernels == nullptr ? core::SumKernels{} : sum_kernels(*kernels, type, wire);
}

}  // namespace isaribi::simd
