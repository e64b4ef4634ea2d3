// SPDX-License-Identifier: MIT
// Square roots of the Hessian of a loss, one sample after the other.
#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

#include "backends/reference/activation.hpp"
#include "backends/reference/ops.hpp"
#include "backends/reference/view.hpp"

namespace isaribi::reference {
namespace {

using api::FisherMode;
using Vector = std::vector<double>;

/// The random numbers of one sample.
struct Draws {
  const core::Philox& key;
  std::uint64_t coordinate;
  double uniform(std::size_t i) const { return key.word(coordinate, i) * 0x1p-32; }
  double sign(std::size_t i) const {
    return key.word(coordinate, i / 32) >> (i % 32) & 1 ? -1.0 : 1.0;
  }
  /// As api::RandomNormal.
  double normal(std::size_t i) const {
    const std::size_t even = i / 2 * 2;
    const double u1 = (key.word(coordinate, even) + 1.0) * 0x1p-32;
    const double r = std::sqrt(-2.0 * std::log(u1));
    const double angle = 2.0 * std::numbers::pi * uniform(even + 1);
    return i % 2 == 0 ? r * std::cos(angle) : r * std::sin(angle);
  }
};

/// Factor c of sum_c f_c (column c): 1 for one column, +-1 for the sum of all with random signs.
double factor_of(FisherMode mode, std::size_t c, std::size_t column, const Draws& draws) {
  if (mode == FisherMode::signs) return draws.sign(c);
  return c == column ? 1.0 : 0.0;
}

Vector softmax_vector(const Vector& z, FisherMode mode, std::size_t column, const Draws& draws) {
  const std::size_t c = z.size();
  Vector p(c), v(c, 0.0);
  const double highest = *std::max_element(z.begin(), z.end());
  double total = 0.0;
  for (std::size_t k = 0; k < c; ++k) total += p[k] = std::exp(z[k] - highest);
  if (mode == FisherMode::sample) {
    const double target = draws.uniform(0) * total;
    std::size_t label = 0;
    for (double cumulated = p[0]; cumulated <= target && label + 1 < c;) cumulated += p[++label];
    for (std::size_t k = 0; k < c; ++k) v[k] = p[k] / total - (k == label ? 1.0 : 0.0);
    return v;
  }
  for (double& value : p) value /= total;
  for (std::size_t k = 0; k < c; ++k) {
    const double factor = factor_of(mode, k, column, draws);
    if (factor == 0.0) continue;
    for (std::size_t j = 0; j < c; ++j)
      v[j] += factor * std::sqrt(p[k]) * ((j == k ? 1.0 : 0.0) - p[j]);
  }
  return v;
}

Vector squares_vector(const Vector& z, FisherMode mode, std::size_t column, const Draws& draws) {
  Vector v(z.size());
  for (std::size_t k = 0; k < z.size(); ++k) {
    v[k] = mode == FisherMode::sample ? draws.normal(k) : factor_of(mode, k, column, draws);
  }
  return v;
}

Vector bernoulli_vector(const Vector& z, FisherMode mode, std::size_t column, const Draws& draws) {
  Vector v(z.size());
  for (std::size_t k = 0; k < z.size(); ++k) {
    const double p = sigmoid(z[k]), rest = sigmoid(-z[k]);
    v[k] = mode == FisherMode::sample ? p - (draws.uniform(k) < p ? 1.0 : 0.0)
                                      : factor_of(mode, k, column, draws) * std::sqrt(p * rest);
  }
  return v;
}

template <typename T>
void run_fisher_vectors(const api::FisherVectors& a) {
  const std::int64_t samples = a.z.shape()[0], c = a.z.shape()[1];
  const auto column = static_cast<std::size_t>(a.index);
#pragma omp parallel for
  for (std::int64_t n = 0; n < samples; ++n) {
    const T* row = a.z.data<T>() + n * c;
    const std::int32_t id = a.mode == FisherMode::column ? 0 : a.ids.data<std::int32_t>()[n];
    const Draws draws{a.key, a.coordinate(id)};
    const Vector z(row, row + c);
    const auto make = a.loss == api::LossKind::softmax_cross_entropy ? softmax_vector
                      : a.loss == api::LossKind::mean_squared_error  ? squares_vector
                                                                     : bernoulli_vector;
    const Vector v = make(z, a.mode, column, draws);
    for (std::int64_t k = 0; k < c; ++k)
      a.dz.data<T>()[n * c + k] = static_cast<T>(a.scale * v[static_cast<std::size_t>(k)]);
  }
}

}  // namespace

void Factor::do_fisher_vectors(const api::FisherVectors& a) {
  if (a.z.count() == 0) return;
  with_real(a.z.dtype(), [&](auto t) { run_fisher_vectors<decltype(t)>(a); });
}

}  // namespace isaribi::reference
