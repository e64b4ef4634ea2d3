// SPDX-License-Identifier: MIT
// The activations as types, so that each gets its own loop.
#pragma once

#include <Kokkos_Core.hpp>
#include <type_traits>

#include "backends/api/elementwise.hpp"
#include "backends/kokkos/loops.hpp"

namespace isaribi::kokkos {

using api::Activation;

/// tanh without branches or calls, so that loops over it are vectorised: near 0 the odd polynomial
/// of Cephes (Moshier, tanhf.c), which keeps the relative error; beyond, 1 - 2 / (exp(2 |x|) + 1),
/// with exp(t) = 2^n exp(r), |r| <= ln(2) / 2, and the Taylor polynomial of exp(r).
inline float vectorised_tanh(float x) {
  constexpr auto kBits = [](float v) { return Kokkos::bit_cast<std::int32_t>(v); };
  const float size = Kokkos::abs(x), z = x * x;
  const float odd = -0.333332819422f +
                    z * (0.133314422036f + z * (-5.37397155531e-2f +
                                                z * (2.06390887954e-2f - z * 5.70498872745e-3f)));
  const float near = size + size * z * odd;  // of NaN NaN
  // Positive floats are ordered as their bits are. tanh is 1 to rounding from 9.02 on.
  const std::int32_t most = kBits(10.0f), bits = kBits(size) < most ? kBits(size) : most;
  const float t = 2 * Kokkos::bit_cast<float>(bits);
  const float shift = 12582912.0f;  // 1.5 * 2^23 leaves the nearest integer
  const float shifted = t * 1.44269504f + shift, n = shifted - shift;
  const float r = t - n * 0.693359375f + n * 2.12194440e-4f;  // ln(2) in two parts
  float e = 1.0f / 720 + r * (1.0f / 5040);
  e = 0.5f + r * (1.0f / 6 + r * (1.0f / 24 + r * (1.0f / 120 + r * e)));
  e = 1.0f + r * (1.0f + r * e);
  e *= Kokkos::bit_cast<float>((kBits(shifted) << 23) + 0x3f800000);
  const float far = 1.0f - 2.0f / (e + 1.0f);
  const bool is_far = size >= 0.625f;
  return Kokkos::copysign(keep_if(is_far, far) + keep_if(!is_far, near), x);
}

template <typename T>
KOKKOS_INLINE_FUNCTION T sigmoid(T x) {
  return T(1) / (T(1) + Kokkos::exp(-x));
}

// `backward` is the derivative given x and y.
struct Relu {
  template <typename T>
  KOKKOS_INLINE_FUNCTION static T forward(T x) {
    return x < T(0) ? T(0) : x;  // NaN passes
  }
  template <typename T>
  KOKKOS_INLINE_FUNCTION static T backward(T, T y, T dy) {
    return y > T(0) ? dy : T(0);
  }
};
struct Relu6 {
  template <typename T>
  KOKKOS_INLINE_FUNCTION static T forward(T x) {
    return x < T(0) ? T(0) : x > T(6) ? T(6) : x;
  }
  template <typename T>
  KOKKOS_INLINE_FUNCTION static T backward(T, T y, T dy) {
    return y > T(0) && y < T(6) ? dy : T(0);
  }
};
struct Tanh {
  template <typename T>
  KOKKOS_INLINE_FUNCTION static T forward(T x) {
    if constexpr (kHost && std::is_same_v<T, float>) {
      return vectorised_tanh(x);
    } else {
      return Kokkos::tanh(x);
    }
  }
  template <typename T>
  KOKKOS_INLINE_FUNCTION static T backward(T, T y, T dy) {
    return dy * (T(1) - y * y);
  }
};
struct Sigmoid {
  template <typename T>
  KOKKOS_INLINE_FUNCTION static T forward(T x) {
    return sigmoid(x);
  }
  template <typename T>
  KOKKOS_INLINE_FUNCTION static T backward(T, T y, T dy) {
    return dy * y * (T(1) - y);
  }
};
struct Swish {
  template <typename T>
  KOKKOS_INLINE_FUNCTION static T forward(T x) {
    return x * sigmoid(x);
  }
  template <typename T>
  KOKKOS_INLINE_FUNCTION static T backward(T x, T, T dy) {
    const T s = sigmoid(x);
    return dy * s * (T(1) + x * (T(1) - s));
  }
};
struct Identity {
  template <typename T>
  KOKKOS_INLINE_FUNCTION static T forward(T x) {
    return x;
  }
  template <typename T>
  KOKKOS_INLINE_FUNCTION static T backward(T, T, T dy) {
    return dy;
  }
};

template <typename F>
void with_activation(Activation kind, F&& f) {
  switch (kind) {
    case Activation::none:
      return f(Identity{});
    case Activation::relu:
      return f(Relu{});
    case Activation::relu6:
      return f(Relu6{});
    case Activation::tanh:
      return f(Tanh{});
    case Activation::sigmoid:
      return f(Sigmoid{});
    case Activation::swish:
      return f(Swish{});
  }
}

}  // namespace isaribi::kokkos
