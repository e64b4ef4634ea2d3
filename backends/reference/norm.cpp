// SPDX-License-Identifier: MIT
// Batch normalisation: local sums, and the passes that use them. [.., C] is walked as rows of C.
#include "backends/reference/activation.hpp"
#include "backends/reference/ops.hpp"
#include "backends/reference/view.hpp"

namespace isaribi::reference {
namespace {

/// [.., C] as [rows, C].
core::Tensor as_rows(const core::Tensor& t) {
  return t.reshaped({rows(t), channels(t)});
}

/// dy where a fused relu let the value through, else 0.
template <typename T, typename Args>
double passed(const Args& a, const View<T>& dy, std::int64_t r, std::int64_t c) {
  if (a.activation == api::Activation::none) return dy(r, c);
  return a.y.template data<T>()[r * channels(a.y) + c] > T(0) ? dy(r, c) : 0.0;
}

template <typename T>
void run_statistics(const api::BatchNormStatistics& a) {
  const View<T> x(as_rows(a.x));
  const View<double> sums(a.sums);
#pragma omp parallel for
  for (std::int64_t c = 0; c < channels(a.x); ++c) {
    double sum = 0.0, squares = 0.0;
    for (std::int64_t r = 0; r < rows(a.x); ++r) {
      sum += x(r, c);
      squares += static_cast<double>(x(r, c)) * x(r, c);
    }
    sums(0, c) = sum;
    sums(1, c) = squares;
  }
}

template <typename T>
void run_normalize(const api::BatchNormNormalize& a) {
  const View<T> x(as_rows(a.x)), y(as_rows(a.y));
  const View<T> mean(a.mean), inv_std(a.inv_std), gamma(a.gamma), beta(a.beta);
#pragma omp parallel for
  for (std::int64_t r = 0; r < rows(a.x); ++r) {
    for (std::int64_t c = 0; c < channels(a.x); ++c) {
      const double normal = (static_cast<double>(x(r, c)) - mean(c)) * inv_std(c);
      y(r, c) = static_cast<T>(activate(a.activation, gamma(c) * normal + beta(c)));
    }
  }
}

template <typename T>
void run_backward_reduce(const api::BatchNormBackwardReduce& a) {
  const View<T> x(as_rows(a.x)), dy(as_rows(a.dy)), mean(a.mean), inv_std(a.inv_std);
  const View<double> sums(a.sums);
#pragma omp parallel for
  for (std::int64_t c = 0; c < channels(a.x); ++c) {
    double beta = 0.0, gamma = 0.0;
    for (std::int64_t r = 0; r < rows(a.x); ++r) {
      const double normal = (static_cast<double>(x(r, c)) - mean(c)) * inv_std(c);
      const double gradient = passed<T>(a, dy, r, c);
      beta += gradient;
      gamma += gradient * normal;
    }
    sums(0, c) = beta;
    sums(1, c) = gamma;
  }
}

template <typename T>
void run_backward_apply(const api::BatchNormBackwardApply& a) {
  const View<T> x(as_rows(a.x)), dy(as_rows(a.dy)), dx(as_rows(a.dx));
  const View<T> mean(a.mean), inv_std(a.inv_std), gamma(a.gamma);
  const View<double> sums(a.sums);
#pragma omp parallel for
  for (std::int64_t r = 0; r < rows(a.x); ++r) {
    for (std::int64_t c = 0; c < channels(a.x); ++c) {
      const double normal = (static_cast<double>(x(r, c)) - mean(c)) * inv_std(c);
      const double centred =
          passed<T>(a, dy, r, c) - sums(0, c) / a.elements - normal * sums(1, c) / a.elements;
      dx(r, c) = static_cast<T>(static_cast<double>(gamma(c)) * inv_std(c) * centred);
    }
  }
}

template <typename T>
void run_fold(const api::BatchNormFold& a) {
  const View<T> bias(a.bias), mean(a.mean), inv_std(a.inv_std), gamma(a.gamma), beta(a.beta);
  const std::int64_t outputs = a.w.shape()[0], filter = a.w.shape().count_per_sample();
  const View<T> w(a.w.reshaped({outputs, filter}));
  for (std::int64_t o = 0; o < outputs; ++o) {
    const double scale = static_cast<double>(gamma(o)) * inv_std(o);
    for (std::int64_t k = 0; k < filter; ++k) w(o, k) = static_cast<T>(w(o, k) * scale);
    bias(o) = static_cast<T>((static_cast<double>(bias(o)) - mean(o)) * scale + beta(o));
  }
}

}  // namespace

void Norm::do_statistics(const api::BatchNormStatistics& a) {
  with_real(a.x.dtype(), [&](auto t) { run_statistics<decltype(t)>(a); });
}

void Norm::do_normalize(const api::BatchNormNormalize& a) {
  with_real(a.x.dtype(), [&](auto t) { run_normalize<decltype(t)>(a); });
}

void Norm::do_backward_reduce(const api::BatchNormBackwardReduce& a) {
  with_real(a.x.dtype(), [&](auto t) { run_backward_reduce<decltype(t)>(a); });
}

void Norm::do_backward_apply(const api::BatchNormBackwardApply& a) {
  with_real(a.x.dtype(), [&](auto t) { run_backward_apply<decltype(t)>(a); });
}

void Norm::do_fold(const api::BatchNormFold& a) {
  with_real(a.w.dtype(), [&](auto t) { run_fold<decltype(t)>(a); });
}

}  // namespace isaribi::reference
