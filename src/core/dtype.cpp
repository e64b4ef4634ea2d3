// SPDX-License-Identifier: MIT
#include "core/dtype.hpp"

#include <array>
#include <string>

#include "core/error.hpp"

namespace isaribi::core {
namespace {

struct Row {
  DType type;
  std::string_view name;
  std::size_t size;
};
constexpr std::array<Row, 7> kTypes = {{{DType::f64, "f64", 8},
                                        {DType::f32, "f32", 4},
                                        {DType::f16, "f16", 2},
                                        {DType::bf16, "bf16", 2},
                                        {DType::i8, "i8", 1},
                                        {DType::u8, "u8", 1},
                                        {DType::i32, "i32", 4}}};

const Row& row(DType type) {
  return kTypes[static_cast<std::size_t>(type)];
}

// Shifts right by `shift` bits (1..31), rounding to nearest, ties to even.
std::uint32_t shift_round_even(std::uint32_t value, int shift) {
  const std::uint32_t half = 1u << (shift - 1);
  const std::uint32_t odd = (value >> shift) & 1u;
  return (value + half - 1 + odd) >> shift;
}

}  // namespace

std::size_t size_of(DType type) {
  return row(type).size;
}
std::string_view name_of(DType type) {
  return row(type).name;
}

DType parse_dtype(std::string_view name) {
  for (const Row& r : kTypes) {
    if (r.name == name) return r.type;
  }
  throw UsageError("unknown element type '" + std::string(name) + "'",
                   "use one of f64, f32, f16, bf16, i8, u8, i32");
}

Half::Half(float value) {
  const auto x = std::bit_cast<std::uint32_t>(value);
  const auto sign = static_cast<std::uint16_t>((x >> 16) & 0x8000u);
  const std::uint32_t magnitude = x & 0x7fffffffu;
  std::uint32_t out;
  if (magnitude > 0x7f800000u) {
    out = 0x7e00u | ((magnitude >> 13) & 0x3ffu);  // NaN stays NaN, quiet
  } else if (magnitude >= 0x477ff000u) {
    out = 0x7c00u;  // rounds past 65504
  } else if (magnitude >= 0x38800000u) {
    out = shift_round_even(magnitude - 0x38000000u, 13);  // normal: rebias 127 -> 15
  } else if (magnitude >= 0x33000000u) {
    const int exponent = static_cast<int>(magnitude >> 23);
    out = shift_round_even((magnitude & 0x7fffffu) | 0x800000u, 126 - exponent);  // subnormal
  } else {
    out = 0;
  }
  bits = static_cast<std::uint16_t>(sign | out);
}

Half::operator float() const {
  const std::uint32_t sign = std::uint32_t{bits} << 16 & 0x80000000u;
  const std::uint32_t exponent = (bits >> 10) & 0x1fu;
  const std::uint32_t mantissa = bits & 0x3ffu;
  if (exponent == 0x1f) return std::bit_cast<float>(sign | 0x7f800000u | (mantissa << 13));
  if (exponent != 0)
    return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (mantissa << 13));
  const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
  return sign ? -magnitude : magnitude;
}

BFloat16::BFloat16(float value) {
  const auto x = std::bit_cast<std::uint32_t>(value);
  if ((x & 0x7fffffffu) > 0x7f800000u) {
    bits = static_cast<std::uint16_t>((x >> 16) | 0x40u);
  } else {
    bits = static_cast<std::uint16_t>(((std::uint64_t{x} + 0x7fffu + ((x >> 16) & 1u)) >> 16));
  }
}

}  // namespace isaribi::core
