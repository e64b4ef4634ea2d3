// SPDX-License-Identifier: MIT
// Element types of a tensor. f16 and bf16 are storage types here: they convert to and from float
// with round-to-nearest-even, and arithmetic on them is a backend's business.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace isaribi::core {

enum class DType : std::uint8_t { f64, f32, f16, bf16, i8, u8, i32 };

/// Bytes of one element.
std::size_t size_of(DType type);
/// "f32", "bf16", ...: the spelling used in decks, tables and files.
std::string_view name_of(DType type);
/// Inverse of name_of. @throws UsageError for an unknown name.
DType parse_dtype(std::string_view name);

/// IEEE 754 binary16 storage.
struct Half {
  std::uint16_t bits = 0;
  Half() = default;
  explicit Half(float value);
  explicit operator float() const;
};

/// bfloat16 storage: the upper half of a binary32.
struct BFloat16 {
  std::uint16_t bits = 0;
  BFloat16() = default;
  explicit BFloat16(float value);
  explicit operator float() const { return std::bit_cast<float>(std::uint32_t{bits} << 16); }
};

template <typename T>
struct DTypeOf;
template <>
struct DTypeOf<double> {
  static constexpr DType value = DType::f64;
};
template <>
struct DTypeOf<float> {
  static constexpr DType value = DType::f32;
};
template <>
struct DTypeOf<Half> {
  static constexpr DType value = DType::f16;
};
template <>
struct DTypeOf<BFloat16> {
  static constexpr DType value = DType::bf16;
};
template <>
struct DTypeOf<std::int8_t> {
  static constexpr DType value = DType::i8;
};
template <>
struct DTypeOf<std::uint8_t> {
  static constexpr DType value = DType::u8;
};
template <>
struct DTypeOf<std::int32_t> {
  static constexpr DType value = DType::i32;
};
/// The DType that stores T: dtype_of<float> == DType::f32.
template <typename T>
inline constexpr DType dtype_of = DTypeOf<T>::value;

}  // namespace isaribi::core
