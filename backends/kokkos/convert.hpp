// SPDX-License-Identifier: MIT
// Element conversions that run on any execution space (those of core/dtype.hpp are host code), and
// filling a tensor of any type. Every stored type is exact in f64, so a conversion is load-to-f64,
// then one rounding.
#pragma once

#include <Kokkos_Core.hpp>
#include <cstdint>

#include "backends/kokkos/queue.hpp"

namespace isaribi::kokkos {

/// y = value, rounded as cast.hpp says; any element type.
void fill(const Queue& queue, const core::Tensor& y, double value);

template <typename T>
KOKKOS_INLINE_FUNCTION double load(T x) {
  return static_cast<double>(x);
}
KOKKOS_INLINE_FUNCTION double load(core::BFloat16 x) {
  return static_cast<double>(Kokkos::bit_cast<float>(std::uint32_t{x.bits} << 16));
}
KOKKOS_INLINE_FUNCTION double load(core::Half x) {
  const std::uint32_t sign = (x.bits & 0x8000u) << 16, exponent = (x.bits >> 10) & 0x1fu,
                      mantissa = x.bits & 0x3ffu;
  if (exponent == 0) {  // zero and subnormals: mantissa 2^-24
    const double magnitude = static_cast<double>(mantissa) * 0x1p-24;
    return sign != 0 ? -magnitude : magnitude;
  }
  const std::uint32_t wide = exponent == 0x1f ? 0xffu : exponent + 112;
  return static_cast<double>(Kokkos::bit_cast<float>(sign | (wide << 23) | (mantissa << 13)));
}

/// x rounded towards zero to f32 with the last bit set when that was inexact ("round to odd"): a
/// later rounding to at most 22 bits of significand then equals a single rounding of x (Boldo &
/// Melquiond 2008).
KOKKOS_INLINE_FUNCTION std::uint32_t odd_bits(double x) {
  const auto f = static_cast<float>(x);
  std::uint32_t bits = Kokkos::bit_cast<std::uint32_t>(f);
  const double back = static_cast<double>(f);
  if (back != x && back == back) {
    if ((back > x) == (x > 0))
      --bits;  // away from zero: one step back (from infinity to the largest, too)
    bits |= 1u;
  }
  return bits;
}

/// value >> shift rounded to nearest, ties to even; 1 <= shift <= 31.
KOKKOS_INLINE_FUNCTION std::uint32_t shift_to_even(std::uint32_t value, unsigned shift) {
  return (value + (1u << (shift - 1)) - 1 + ((value >> shift) & 1u)) >> shift;
}

template <typename T>
KOKKOS_INLINE_FUNCTION T store_as(double x) {
  if constexpr (std::is_floating_point_v<T>) {
    return static_cast<T>(x);
  } else if constexpr (std::is_same_v<T, core::BFloat16>) {
    const std::uint32_t bits = odd_bits(x);
    T y;
    const bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
    y.bits = static_cast<std::uint16_t>(nan ? (bits >> 16) | 0x40u : shift_to_even(bits, 16));
    return y;
  } else if constexpr (std::is_same_v<T, core::Half>) {
    const std::uint32_t bits = odd_bits(x), magnitude = bits & 0x7fffffffu,
                        exponent = magnitude >> 23;
    std::uint32_t out = 0;
    if (magnitude > 0x7f800000u) {
      out = 0x7e00u | ((magnitude >> 13) & 0x3ffu);  // NaN stays NaN, quiet
    } else if (magnitude >= 0x477ff000u) {
      out = 0x7c00u;  // rounds past 65504
    } else if (exponent >= 113) {
      out = shift_to_even(magnitude - (112u << 23), 13);
    } else if (exponent >= 102) {
      out = shift_to_even((magnitude & 0x7fffffu) | 0x800000u, 126 - exponent);  // subnormal
    }
    T y;
    y.bits = static_cast<std::uint16_t>(((bits >> 16) & 0x8000u) | out);
    return y;
  } else {
    constexpr double low = static_cast<double>(std::numeric_limits<T>::min());
    constexpr double high = static_cast<double>(std::numeric_limits<T>::max());
    if (x != x) return T(0);
    return static_cast<T>(Kokkos::nearbyint(Kokkos::clamp(x, low, high)));
  }
}

}  // namespace isaribi::kokkos
