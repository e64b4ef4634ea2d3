// SPDX-License-Identifier: MIT
// What each elementwise kernel does to one element, and how it is made from the arguments of its
// operation. Plain C++ that compiles for the host too, so that a test without a GPU compares it
// with the oracle. Arithmetic is done in the element type.
#pragma once

#include <cmath>
#include <cstdint>

#include "backends/api/elementwise.hpp"
#include "backends/api/update.hpp"
#include "core/rng.hpp"  // ISARIBI_HOST_DEVICE

namespace isaribi::cuda {

template <typename T>
T* address(const core::Tensor& tensor) {
  return static_cast<T*>(tensor.raw());
}

template <typename T>
ISARIBI_HOST_DEVICE T sigmoid(T x) {
  return T(1) / (T(1) + std::exp(-x));
}

template <typename T>
ISARIBI_HOST_DEVICE T activate(api::Activation kind, T x) {
  switch (kind) {
    case api::Activation::relu:
      return x > T(0) ? x : T(0);
    case api::Activation::relu6:
      return x > T(0) ? (x < T(6) ? x : T(6)) : T(0);
    case api::Activation::tanh:
      return std::tanh(x);
    case api::Activation::sigmoid:
      return sigmoid(x);
    case api::Activation::swish:
      return x * sigmoid(x);
    case api::Activation::none:
      break;
  }
  return x;
}

/// Derivative at output y, or for swish, which is not monotonic, at input x.
template <typename T>
ISARIBI_HOST_DEVICE T slope(api::Activation kind, T x, T y) {
  switch (kind) {
    case api::Activation::relu:
      return y > T(0) ? T(1) : T(0);
    case api::Activation::relu6:
      return y > T(0) && y < T(6) ? T(1) : T(0);
    case api::Activation::tanh:
      return T(1) - y * y;
    case api::Activation::sigmoid:
      return y * (T(1) - y);
    case api::Activation::swish: {
      const T s = sigmoid(x);
      return s + x * s * (T(1) - s);
    }
    case api::Activation::none:
      break;
  }
  return T(1);
}

template <typename T>
struct ActivationForwardBody {
  api::Activation kind;
  const T* x;
  T* y;
  explicit ActivationForwardBody(const api::ActivationForward& args)
      : kind(args.kind), x(address<T>(args.x)), y(address<T>(args.y)) {}
  ISARIBI_HOST_DEVICE void operator()(std::int64_t i) const { y[i] = activate(kind, x[i]); }
};

template <typename T>
struct ActivationBackwardBody {
  api::Activation kind;
  const T *x, *y, *dy;  // x or y may be null: slope() ignores that one
  T* dx;
  explicit ActivationBackwardBody(const api::ActivationBackward& args)
      : kind(args.kind),
        x(address<T>(args.x)),
        y(address<T>(args.y)),
        dy(address<T>(args.dy)),
        dx(address<T>(args.dx)) {}
  ISARIBI_HOST_DEVICE void operator()(std::int64_t i) const {
    dx[i] = dy[i] * slope(kind, x ? x[i] : T(0), y ? y[i] : T(0));
  }
};

template <typename T>
struct AddBody {
  api::Activation kind;
  const T *a, *b;
  T* y;
  explicit AddBody(const api::Add& args)
      : kind(args.activation),
        a(address<T>(args.a)),
        b(address<T>(args.b)),
        y(address<T>(args.y)) {}
  ISARIBI_HOST_DEVICE void operator()(std::int64_t i) const { y[i] = activate(kind, a[i] + b[i]); }
};

template <typename T>
struct AddBiasBody {
  const T *x, *bias;
  T* y;
  std::int64_t channels;
  explicit AddBiasBody(const api::AddBias& args)
      : x(address<T>(args.x)),
        bias(address<T>(args.bias)),
        y(address<T>(args.y)),
        channels(args.bias.count()) {}
  ISARIBI_HOST_DEVICE void operator()(std::int64_t i) const { y[i] = x[i] + bias[i % channels]; }
};

template <typename X, typename Y>
struct AxpbyBody {
  double alpha, beta;
  const X* x;
  Y* y;
  explicit AxpbyBody(const api::Axpby& args)
      : alpha(args.alpha), beta(args.beta), x(address<X>(args.x)), y(address<Y>(args.y)) {}
  ISARIBI_HOST_DEVICE void operator()(std::int64_t i) const {
    const double term = alpha * static_cast<double>(x[i]);
    y[i] = static_cast<Y>(beta == 0.0 ? term : term + beta * static_cast<double>(y[i]));
  }
};

template <typename T>
struct FillBody {
  T* y;
  T value;
  ISARIBI_HOST_DEVICE void operator()(std::int64_t i) const { y[i] = value; }
};

template <typename T, typename G>
struct SgdBody {
  T* w;
  const G* gradient;
  T* velocity;  // null without momentum
  T lr, momentum, l2, keep, scale;
  bool nesterov;
  explicit SgdBody(const api::SgdUpdate& args)
      : w(address<T>(args.w)),
        gradient(address<G>(args.gradient)),
        velocity(address<T>(args.velocity)),
        lr(static_cast<T>(args.lr)),
        momentum(static_cast<T>(args.momentum)),
        l2(static_cast<T>(args.l2)),
        keep(static_cast<T>(1.0 - args.lr * args.decay)),
        scale(static_cast<T>(args.scale)),
        nesterov(args.nesterov) {}
  ISARIBI_HOST_DEVICE void operator()(std::int64_t i) const {
    T step = scale * static_cast<T>(gradient[i]) + l2 * w[i];
    if (velocity) {
      const T v = momentum * velocity[i] + step;
      velocity[i] = v;
      step = nesterov ? step + momentum * v : v;
    }
    w[i] = keep * w[i] - lr * step;
  }
};

template <typename T, typename G>
struct AdamBody {
  T* w;
  const G* gradient;
  T *m, *v;
  T lr, beta1, beta2, rest1, rest2;  // rest = 1 - beta, rounded once
  T correction1, correction2;        // 1 / (1 - beta^t)
  T epsilon, l2, keep;
  explicit AdamBody(const api::AdamUpdate& args)
      : w(address<T>(args.w)),
        gradient(address<G>(args.gradient)),
        m(address<T>(args.m)),
        v(address<T>(args.v)),
        lr(static_cast<T>(args.lr)),
        beta1(static_cast<T>(args.beta1)),
        beta2(static_cast<T>(args.beta2)),
        rest1(static_cast<T>(1.0 - args.beta1)),
        rest2(static_cast<T>(1.0 - args.beta2)),
        correction1(correction<T>(args.beta1, args.step)),
        correction2(correction<T>(args.beta2, args.step)),
        epsilon(static_cast<T>(args.epsilon)),
        l2(static_cast<T>(args.l2)),
        keep(static_cast<T>(1.0 - args.lr * args.decay)) {}
  ISARIBI_HOST_DEVICE void operator()(std::int64_t i) const {
    const T g = static_cast<T>(gradient[i]) + l2 * w[i];
    m[i] = beta1 * m[i] + rest1 * g;
    v[i] = beta2 * v[i] + rest2 * g * g;
    w[i] = keep * w[i] - lr * (m[i] * correction1) / (std::sqrt(v[i] * correction2) + epsilon);
  }

 private:
  template <typename U>
  static U correction(double beta, std::int64_t step) {
    return static_cast<U>(1.0 / (1.0 - std::pow(beta, static_cast<double>(step))));
  }
};

}  // namespace isaribi::cuda
