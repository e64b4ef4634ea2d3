// SPDX-License-Identifier: MIT
// Sums run in a fixed number of chains, which vectors of any instruction set can hold.
#include "optim/kfac/packed.hpp"

#include <cmath>

namespace isaribi::optim::kfac {
namespace {

constexpr std::int64_t kChains = 8;

/// 0 times what is not finite is not finite, and nothing else is.
template <typename T>
bool finite(const T* x, std::int64_t n) {
  T sums[kChains] = {};
  std::int64_t i = 0;
  for (; i + kChains <= n; i += kChains) {
    for (std::int64_t k = 0; k < kChains; ++k) sums[k] += T(0) * x[i + k];
  }
  for (; i < n; ++i) sums[0] += T(0) * x[i];
  T sum = 0;
  for (const T s : sums) sum += s;
  return std::isfinite(sum);
}

template <typename T>
void mix_into(double keep, double weight, const T* fresh, double* average, std::int64_t n) {
  if (keep == 0) {  // nothing is read of what may not be there yet
    for (std::int64_t i = 0; i < n; ++i) average[i] = weight * static_cast<double>(fresh[i]);
    return;
  }
  for (std::int64_t i = 0; i < n; ++i)
    average[i] = keep * average[i] + weight * static_cast<double>(fresh[i]);
}

}  // namespace

bool all_finite(const core::Tensor& t) {
  return t.dtype() == core::DType::f64 ? finite(t.data<double>(), t.count())
                                       : finite(t.data<float>(), t.count());
}

bool moments_finite(const core::Tensor& packed, std::int64_t groups, std::int64_t dim) {
  const auto check = [&](const auto* x) {
    bool all = true;
    for (std::int64_t k = 0; k < groups; ++k, x += dim * (dim + 1) / 2) {
      for (std::int64_t i = 0; i < dim; ++i) all = all && std::isfinite(x[i * (i + 3) / 2]);
    }
    return all;
  };
  return packed.dtype() == core::DType::f64 ? check(packed.data<double>())
                                            : check(packed.data<float>());
}

void mix(double keep, double weight, const core::Tensor& fresh, const core::Tensor& average) {
  double* to = average.data<double>();
  if (fresh.dtype() == core::DType::f64) {
    mix_into(keep, weight, fresh.data<double>(), to, fresh.count());
  } else {
    mix_into(keep, weight, fresh.data<float>(), to, fresh.count());
  }
}

Distances compare_and_keep(const core::Tensor& x, const core::Tensor& last,
                           const core::Tensor& before_last) {
  const double *now = x.data<double>(), *y = last.data<double>();
  double* z = before_last.data<double>();
  double sums[4][kChains] = {};
  const auto add = [&](std::int64_t i, std::int64_t k) {
    const double dy = now[i] - y[i], dz = now[i] - z[i];
    sums[0][k] += dy * dy;
    sums[1][k] += y[i] * y[i];
    sums[2][k] += dz * dz;
    sums[3][k] += z[i] * z[i];
    z[i] = now[i];
  };
  const std::int64_t n = x.count();
  std::int64_t i = 0;
  for (; i + kChains <= n; i += kChains) {
    for (std::int64_t k = 0; k < kChains; ++k) add(i + k, k);
  }
  for (; i < n; ++i) add(i, 0);
  double total[4] = {};
  for (int s = 0; s < 4; ++s) {
    for (const double sum : sums[s]) total[s] += sum;
  }
  return {.to_last = total[0], .last = total[1], .to_before = total[2], .before = total[3]};
}

}  // namespace isaribi::optim::kfac
