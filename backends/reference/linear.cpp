// SPDX-License-Identifier: MIT
// Fully connected layers: y = x W^T + b.
#include "backends/reference/activation.hpp"
#include "backends/reference/ops.hpp"
#include "backends/reference/view.hpp"

namespace isaribi::reference {
namespace {

template <typename T>
void run_forward(const api::LinearForward& a) {
  const View<T> x(a.x), w(a.w), y(a.y);
  const std::int64_t samples = a.x.shape()[0], inputs = a.x.shape()[1], outputs = a.w.shape()[0];
  const T* bias = a.bias.defined() ? a.bias.data<T>() : nullptr;
#pragma omp parallel for collapse(2)
  for (std::int64_t n = 0; n < samples; ++n) {
    for (std::int64_t o = 0; o < outputs; ++o) {
      double sum = bias != nullptr ? bias[o] : 0.0;
      for (std::int64_t i = 0; i < inputs; ++i) sum += static_cast<double>(x(n, i)) * w(o, i);
      y(n, o) = static_cast<T>(activate(a.activation, sum));
    }
  }
}

template <typename T>
void run_backward_data(const api::LinearBackwardData& a) {
  const View<T> dy(a.dy), w(a.w), dx(a.dx);
  const std::int64_t samples = a.dx.shape()[0], inputs = a.dx.shape()[1], outputs = a.w.shape()[0];
#pragma omp parallel for collapse(2)
  for (std::int64_t n = 0; n < samples; ++n) {
    for (std::int64_t i = 0; i < inputs; ++i) {
      double sum = 0.0;
      for (std::int64_t o = 0; o < outputs; ++o) sum += static_cast<double>(dy(n, o)) * w(o, i);
      dx(n, i) = static_cast<T>(sum);
    }
  }
}

// T: type of x and dy, G: type of dw and db.
template <typename T, typename G>
void run_backward_weights(const api::LinearBackwardWeights& a) {
  const View<T> x(a.x), dy(a.dy);
  const View<G> dw(a.dw);
  const std::int64_t samples = a.x.shape()[0], inputs = a.x.shape()[1], outputs = a.dw.shape()[0];
  const auto store = [&](G& out, double sum) {
    out = static_cast<G>(a.accumulate ? out + sum : sum);
  };
#pragma omp parallel for
  for (std::int64_t o = 0; o < outputs; ++o) {
    for (std::int64_t i = 0; i < inputs; ++i) {
      double sum = 0.0;
      for (std::int64_t n = 0; n < samples; ++n) sum += static_cast<double>(dy(n, o)) * x(n, i);
      store(dw(o, i), sum);
    }
    if (!a.db.defined()) continue;
    double sum = 0.0;
    for (std::int64_t n = 0; n < samples; ++n) sum += dy(n, o);
    store(a.db.data<G>()[o], sum);
  }
}

}  // namespace

void Linear::do_forward(const api::LinearForward& a) {
  with_real(a.x.dtype(), [&](auto t) { run_forward<decltype(t)>(a); });
}

void Linear::do_backward_data(const api::LinearBackwardData& a) {
  with_real(a.dy.dtype(), [&](auto t) { run_backward_data<decltype(t)>(a); });
}

void Linear::do_backward_weights(const api::LinearBackwardWeights& a) {
  with_real(a.x.dtype(), [&](auto t) {
    with_real(a.dw.dtype(), [&](auto g) { run_backward_weights<decltype(t), decltype(g)>(a); });
  });
}

}  // namespace isaribi::reference
