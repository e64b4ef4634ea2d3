// SPDX-License-Identifier: MIT
#include "comm/allreduce/sums.hpp"

#include <bit>
#include <cstring>
#include <string>
#include <type_traits>

#include "core/error.hpp"

// One copy of a loop per instruction set, chosen when the program starts. Additions and roundings
// are IEEE operations: every copy gives the same bits.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define ISARIBI_FOR_EACH_ISA __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define ISARIBI_FOR_EACH_ISA
#endif

namespace isaribi::comm {
namespace {

using core::DType;

ISARIBI_FOR_EACH_ISA void add_f32(void* y, const void* x, std::int64_t n) {
  auto* sum = static_cast<float*>(y);
  const auto* term = static_cast<const float*>(x);
  for (std::int64_t i = 0; i < n; ++i) sum[i] += term[i];
}

ISARIBI_FOR_EACH_ISA void add_f64(void* y, const void* x, std::int64_t n) {
  auto* sum = static_cast<double*>(y);
  const auto* term = static_cast<const double*>(x);
  for (std::int64_t i = 0; i < n; ++i) sum[i] += term[i];
}

ISARIBI_FOR_EACH_ISA void add_i32(void* y, const void* x, std::int64_t n) {
  auto* sum = static_cast<std::uint32_t*>(y);  // wraps as MPI_SUM does
  const auto* term = static_cast<const std::uint32_t*>(x);
  for (std::int64_t i = 0; i < n; ++i) sum[i] += term[i];
}

/// As core::BFloat16, without a branch: nearest even; a NaN stays one.
ISARIBI_FOR_EACH_ISA void narrow_f32_bf16(const void* x, void* wire, std::int64_t n) {
  const auto* from = static_cast<const std::uint32_t*>(x);
  auto* to = static_cast<std::uint16_t*>(wire);
  for (std::int64_t i = 0; i < n; ++i) {
    const std::uint32_t bits = from[i];
    const std::uint32_t rounded = (bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16;
    const std::uint32_t quiet = (bits >> 16) | 0x40U;
    to[i] = static_cast<std::uint16_t>((bits & 0x7fffffffU) > 0x7f800000U ? quiet : rounded);
  }
}

ISARIBI_FOR_EACH_ISA void widen_bf16_f32(const void* wire, void* x, std::int64_t n) {
  const auto* from = static_cast<const std::uint16_t*>(wire);
  auto* to = static_cast<std::uint32_t*>(x);
  for (std::int64_t i = 0; i < n; ++i) to[i] = std::uint32_t{from[i]} << 16;
}

template <typename T, typename Wire>
void narrow(const void* x, void* wire, std::int64_t n) {
  const auto* from = static_cast<const T*>(x);
  auto* to = static_cast<Wire*>(wire);
  for (std::int64_t i = 0; i < n; ++i) {
    if constexpr (std::is_same_v<Wire, float>) {
      to[i] = static_cast<float>(from[i]);
    } else {
      to[i] = Wire(static_cast<float>(from[i]));
    }
  }
}

template <typename T, typename Wire>
void widen(const void* wire, void* x, std::int64_t n) {
  const auto* from = static_cast<const Wire*>(wire);
  auto* to = static_cast<T*>(x);
  for (std::int64_t i = 0; i < n; ++i) to[i] = static_cast<T>(static_cast<float>(from[i]));
}

template <typename T>
void copy(const void* x, void* y, std::int64_t n) {
  std::memcpy(y, x, static_cast<std::size_t>(n) * sizeof(T));
}

template <typename T>
SumKernels floating(void (*add)(void*, const void*, std::int64_t), DType wire) {
  switch (wire) {
    case DType::f32:
      return {add, narrow<T, float>, widen<T, float>};
    case DType::bf16:
      return {add, narrow<T, core::BFloat16>, widen<T, core::BFloat16>};
    case DType::f16:
      return {add, narrow<T, core::Half>, widen<T, core::Half>};
    default:
      return {add, nullptr, nullptr};
  }
}

}  // namespace

SumKernels sum_kernels(DType type, DType wire) {
  SumKernels kernels{};
  if (type == DType::f64) {
    kernels = floating<double>(add_f64, wire);
    if (wire == type) kernels = {add_f64, copy<double>, copy<double>};
  } else if (type == DType::f32) {
    kernels = floating<float>(add_f32, wire);
    if (wire == type) kernels = {add_f32, copy<float>, copy<float>};
    if (wire == DType::bf16) kernels = {add_f32, narrow_f32_bf16, widen_bf16_f32};
  } else if (type == DType::i32 && wire == type) {
    kernels = {add_i32, copy<std::int32_t>, copy<std::int32_t>};
  }
  if (kernels.narrow == nullptr) {
    throw core::UsageError("no sum of " + std::string(core::name_of(type)) + " travels as " +
                               std::string(core::name_of(wire)),
                           "f64, f32 and i32 travel as they are, f64 and f32 also as f32, bf16 or "
                           "f16");
  }
  return kernels;
}

}  // namespace isaribi::comm
