// SPDX-License-Identifier: MIT
// One number from double to any element type and back, as api::CastOps::cast specifies.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "core/dtype.hpp"
#include "core/error.hpp"

namespace isaribi::reference {

/// Double to float, rounding to odd: going on to a format of at most 22 bits then rounds as if it
/// had been reached in one step (Boldo & Melquiond, "When double rounding is odd", 2005).
inline float round_to_odd(double x) {
  const auto nearest = static_cast<float>(x);
  const auto bits = std::bit_cast<std::uint32_t>(nearest);
  if (std::isnan(x) || static_cast<double>(nearest) == x || bits % 2 == 1) return nearest;
  const bool too_large = std::fabs(static_cast<double>(nearest)) > std::fabs(x);
  return std::bit_cast<float>(too_large ? bits - 1 : bits + 1);
}

/// Floats: to nearest, ties to even. Integers: the same, then saturated; NaN becomes 0.
template <typename T>
T from_double(double x) {
  if constexpr (std::is_floating_point_v<T>) {
    return static_cast<T>(x);
  } else if constexpr (std::is_integral_v<T>) {
    if (std::isnan(x)) return 0;
    const double rounded = std::nearbyint(x);
    if (rounded <= std::numeric_limits<T>::min()) return std::numeric_limits<T>::min();
    if (rounded >= std::numeric_limits<T>::max()) return std::numeric_limits<T>::max();
    return static_cast<T>(rounded);
  } else {
    return T(round_to_odd(x));
  }
}

/// Exact: every element type fits into a double.
template <typename T>
double to_double(T x) {
  if constexpr (std::is_arithmetic_v<T>) {
    return static_cast<double>(x);
  } else {
    return static_cast<double>(static_cast<float>(x));
  }
}

/// Calls body(T{}) with the C++ type of `type`.
template <typename Body>
void with_any(core::DType type, Body&& body) {
  switch (type) {
    case core::DType::f64:
      return body(double{});
    case core::DType::f32:
      return body(float{});
    case core::DType::f16:
      return body(core::Half{});
    case core::DType::bf16:
      return body(core::BFloat16{});
    case core::DType::i8:
      return body(std::int8_t{});
    case core::DType::u8:
      return body(std::uint8_t{});
    case core::DType::i32:
      return body(std::int32_t{});
  }
  throw core::InternalError("unknown element type");
}

}  // namespace isaribi::reference
