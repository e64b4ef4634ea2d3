// SPDX-License-Identifier: MIT
#include "comm/allreduce/sums.hpp"

#include <cstring>
#include <string>

#include "core/error.hpp"

namespace isaribi::comm {
namespace {

using core::DType;
using core::SumKernels;

/// Operands need not be aligned.
template <typename T>
T load(const void* from, std::int64_t i) {
  T x;
  std::memcpy(&x, static_cast<const T*>(from) + i, sizeof(T));
  return x;
}
template <typename T>
void store(T x, void* to, std::int64_t i) {
  std::memcpy(static_cast<T*>(to) + i, &x, sizeof(T));
}

template <typename T>
void add(void* y, const void* x, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) store<T>(load<T>(y, i) + load<T>(x, i), y, i);
}

template <typename T, typename Wire>
void narrow(const void* x, void* wire, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) store(Wire(static_cast<float>(load<T>(x, i))), wire, i);
}

template <typename T, typename Wire>
void widen(const void* wire, void* x, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i)
    store(static_cast<T>(static_cast<float>(load<Wire>(wire, i))), x, i);
}

template <typename T>
void copy(const void* x, void* y, std::int64_t n) {
  if (n > 0) std::memcpy(y, x, static_cast<std::size_t>(n) * sizeof(T));
}

template <typename T>
SumKernels floating(DType wire) {
  if (wire == core::DTypeOf<T>::value) return {add<T>, copy<T>, copy<T>};
  switch (wire) {
    case DType::f32:
      return {add<T>, narrow<T, float>, widen<T, float>};
    case DType::bf16:
      return {add<T>, narrow<T, core::BFloat16>, widen<T, core::BFloat16>};
    case DType::f16:
      return {add<T>, narrow<T, core::Half>, widen<T, core::Half>};
    default:
      return {};
  }
}

SumKernels portable(DType type, DType wire) {
  if (type == DType::f64) return floating<double>(wire);
  if (type == DType::f32 && wire != DType::f64) return floating<float>(wire);
  if (type == DType::i32 && wire == type)  // unsigned: wraps as MPI_SUM does
    return {add<std::uint32_t>, copy<std::uint32_t>, copy<std::uint32_t>};
  return {};
}

}  // namespace

SumKernels sum_kernels(DType type, DType wire, core::SumKernelsOf fast) {
  const SumKernels plain = portable(type, wire);
  if (!plain) {
    throw core::UsageError("no sum of " + std::string(core::name_of(type)) + " travels as " +
                               std::string(core::name_of(wire)),
                           "f64, f32 and i32 travel as they are, f64 and f32 also as f32, bf16 or "
                           "f16");
  }
  const SumKernels own = fast == nullptr ? SumKernels{} : fast(type, wire);
  return own ? own : plain;
}

}  // namespace isaribi::comm
