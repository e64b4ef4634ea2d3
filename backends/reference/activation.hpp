// SPDX-License-Identifier: MIT
// The activation functions on one number, alone or fused after another operation. NaN stays NaN.
#pragma once

#include <cmath>

#include "backends/api/op.hpp"

namespace isaribi::reference {

inline double sigmoid(double x) {
  return 1.0 / (1.0 + std::exp(-x));
}

/// act(x).
inline double activate(api::Activation kind, double x) {
  switch (kind) {
    case api::Activation::none:
      return x;
    case api::Activation::relu:
      return x < 0.0 ? 0.0 : x;
    case api::Activation::relu6:
      return x < 0.0 ? 0.0 : (x > 6.0 ? 6.0 : x);
    case api::Activation::tanh:
      return std::tanh(x);
    case api::Activation::sigmoid:
      return sigmoid(x);
    case api::Activation::swish:
      return x * sigmoid(x);
  }
  return x;
}

/// act'(x), from the input x (read by swish only) and the output y.
inline double slope(api::Activation kind, double x, double y) {
  switch (kind) {
    case api::Activation::none:
      return 1.0;
    case api::Activation::relu:
      return y > 0.0 ? 1.0 : 0.0;
    case api::Activation::relu6:
      return y > 0.0 && y < 6.0 ? 1.0 : 0.0;
    case api::Activation::tanh:
      return 1.0 - y * y;
    case api::Activation::sigmoid:
      return y * (1.0 - y);
    case api::Activation::swish:
      return sigmoid(x) * (1.0 + x * (1.0 - sigmoid(x)));
  }
  return 1.0;
}

}  // namespace isaribi::reference
