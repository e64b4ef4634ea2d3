// SPDX-License-Identifier: MIT
// Losses with dense targets, one sample after the other.
#include <algorithm>
#include <cmath>
#include <limits>

#include "backends/reference/activation.hpp"
#include "backends/reference/ops.hpp"
#include "backends/reference/view.hpp"

namespace isaribi::reference {
namespace {

/// Calls sample(z, t, C, gradient) per row: it returns the loss of the sample and hands the
/// unscaled gradient of element k to gradient(k, value).
template <typename T, typename Sample>
void for_each_sample(const api::Loss& a, const Sample& sample) {
  const std::int64_t n = a.z.shape()[0], c = a.z.shape()[1];
#pragma omp parallel for
  for (std::int64_t i = 0; i < n; ++i) {
    const auto gradient = [&](std::int64_t k, double value) {
      if (a.dz.defined()) a.dz.data<T>()[i * c + k] = static_cast<T>(a.scale * value);
    };
    a.loss.data<double>()[i] =
        sample(a.z.data<T>() + i * c, a.targets.data<T>() + i * c, c, gradient);
  }
}

template <typename T>
void run_softmax_cross_entropy(const api::Loss& a) {
  for_each_sample<T>(a, [](const T* z, const T* t, std::int64_t c, const auto& gradient) {
    const double highest = *std::max_element(z, z + c);
    double sum = 0.0, mass = 0.0;
    for (std::int64_t k = 0; k < c; ++k) {
      sum += std::exp(z[k] - highest);
      mass += t[k];
    }
    double loss = 0.0;
    for (std::int64_t k = 0; k < c; ++k) {
      loss -= t[k] * (z[k] - highest - std::log(sum));
      gradient(k, std::exp(z[k] - highest) / sum * mass - t[k]);
    }
    return loss;
  });
}

template <typename T>
void run_mean_squared_error(const api::Loss& a) {
  for_each_sample<T>(a, [](const T* z, const T* t, std::int64_t c, const auto& gradient) {
    double loss = 0.0;
    for (std::int64_t k = 0; k < c; ++k) {
      const double difference = static_cast<double>(z[k]) - t[k];
      loss += 0.5 * difference * difference;
      gradient(k, difference);
    }
    return loss;
  });
}

template <typename T>
void run_bernoulli_cross_entropy(const api::Loss& a) {
  for_each_sample<T>(a, [](const T* z, const T* t, std::int64_t c, const auto& gradient) {
    double loss = 0.0;
    for (std::int64_t k = 0; k < c; ++k) {
      const double x = z[k];
      const double softplus = std::max(x, 0.0) + std::log1p(std::exp(-std::fabs(x)));
      loss += softplus - t[k] * x;
      gradient(k, sigmoid(x) - t[k]);
    }
    return loss;
  });
}

template <typename T>
void run_one_hot(const api::OneHot& a) {
  const View<T> targets(a.targets);
  const std::int64_t n = a.targets.shape()[0], c = a.targets.shape()[1];
  for (std::int64_t i = 0; i < n; ++i) {
    const std::int64_t label = a.labels.data<std::int32_t>()[i];
    for (std::int64_t k = 0; k < c; ++k) {
      const double hit = k == label ? 1.0 : 0.0;
      const double value = (1.0 - a.smoothing) * hit + a.smoothing / static_cast<double>(c);
      const bool valid = label >= 0 && label < c;
      targets(i, k) = valid ? static_cast<T>(value) : std::numeric_limits<T>::quiet_NaN();
    }
  }
}

}  // namespace

void Loss::do_softmax_cross_entropy(const api::Loss& a) {
  with_real(a.z.dtype(), [&](auto t) { run_softmax_cross_entropy<decltype(t)>(a); });
}

void Loss::do_mean_squared_error(const api::Loss& a) {
  with_real(a.z.dtype(), [&](auto t) { run_mean_squared_error<decltype(t)>(a); });
}

void Loss::do_bernoulli_cross_entropy(const api::Loss& a) {
  with_real(a.z.dtype(), [&](auto t) { run_bernoulli_cross_entropy<decltype(t)>(a); });
}

void Loss::do_one_hot(const api::OneHot& a) {
  with_real(a.targets.dtype(), [&](auto t) { run_one_hot<decltype(t)>(a); });
}

}  // namespace isaribi::reference
