// SPDX-License-Identifier: MIT
// Optimizer updates, element by element.
#include <cmath>

#include "backends/reference/ops.hpp"
#include "backends/reference/view.hpp"

namespace isaribi::reference {
namespace {

// T: type of the weight, G: type of its gradient.
template <typename T, typename G>
void run_sgd(const api::SgdUpdate& a) {
  T* w = a.w.data<T>();
  T* velocity = a.velocity.defined() ? a.velocity.data<T>() : nullptr;
  const G* gradient = a.gradient.data<G>();
#pragma omp parallel for
  for (std::int64_t i = 0; i < a.w.count(); ++i) {
    const double g = a.scale * gradient[i] + a.l2 * w[i];
    const double v = (velocity != nullptr ? a.momentum * velocity[i] : 0.0) + g;
    const double u = a.nesterov ? g + a.momentum * v : v;
    if (velocity != nullptr) velocity[i] = static_cast<T>(v);
    w[i] = static_cast<T>((1.0 - a.lr * a.decay) * w[i] - a.lr * u);
  }
}

template <typename T, typename G>
void run_adam(const api::AdamUpdate& a) {
  T *w = a.w.data<T>(), *first = a.m.data<T>(), *second = a.v.data<T>();
  const G* gradient = a.gradient.data<G>();
  const double bias1 = 1.0 - std::pow(a.beta1, static_cast<double>(a.step));
  const double bias2 = 1.0 - std::pow(a.beta2, static_cast<double>(a.step));
#pragma omp parallel for
  for (std::int64_t i = 0; i < a.w.count(); ++i) {
    const double g = gradient[i] + a.l2 * w[i];
    const double m = a.beta1 * first[i] + (1.0 - a.beta1) * g;
    const double v = a.beta2 * second[i] + (1.0 - a.beta2) * g * g;
    first[i] = static_cast<T>(m);
    second[i] = static_cast<T>(v);
    const double step = (m / bias1) / (std::sqrt(v / bias2) + a.epsilon);
    w[i] = static_cast<T>((1.0 - a.lr * a.decay) * w[i] - a.lr * step);
  }
}

}  // namespace

void Update::do_sgd(const api::SgdUpdate& a) {
  with_real(a.w.dtype(), [&](auto t) {
    with_real(a.gradient.dtype(), [&](auto g) { run_sgd<decltype(t), decltype(g)>(a); });
  });
}

void Update::do_adam(const api::AdamUpdate& a) {
  with_real(a.w.dtype(), [&](auto t) {
    with_real(a.gradient.dtype(), [&](auto g) { run_adam<decltype(t), decltype(g)>(a); });
  });
}

}  // namespace isaribi::reference
