// SPDX-License-Identifier: MIT
// Random numbers: the draws of core/rng.hpp, one element after the other.
#include <cmath>
#include <numbers>

#include "backends/reference/ops.hpp"
#include "backends/reference/view.hpp"

namespace isaribi::reference {
namespace {

template <typename T>
void run_dropout(const api::Dropout& a) {
  const std::int64_t samples = a.x.shape()[0], elements = a.x.shape().count_per_sample();
#pragma omp parallel for
  for (std::int64_t n = 0; n < samples; ++n) {
    const auto id = static_cast<std::uint64_t>(a.ids.data<std::int32_t>()[n]);
    const T* x = a.x.data<T>() + n * elements;
    T* y = a.y.data<T>() + n * elements;
    for (std::int64_t i = 0; i < elements; ++i) {
      const bool kept = a.key.uniform(id, static_cast<std::uint64_t>(i)) >= a.p;
      y[i] = static_cast<T>(kept ? x[i] / (1.0 - a.p) : 0.0);
    }
  }
}

template <typename T>
void run_uniform(const api::RandomUniform& a) {
  for (std::int64_t i = 0; i < a.x.count(); ++i)
    a.x.data<T>()[i] = a.key.uniform(a.coordinate, static_cast<std::uint64_t>(i));
}

template <typename T>
void run_normal(const api::RandomNormal& a) {
  for (std::int64_t i = 0; i < a.x.count(); ++i) {
    const auto even = static_cast<std::uint64_t>(i / 2 * 2);
    const double u1 = (a.key.word(a.coordinate, even) + 1.0) * 0x1p-32;
    const double u2 = a.key.word(a.coordinate, even + 1) * 0x1p-32;
    const double r = std::sqrt(-2.0 * std::log(u1)), angle = 2.0 * std::numbers::pi * u2;
    a.x.data<T>()[i] = static_cast<T>(i % 2 == 0 ? r * std::cos(angle) : r * std::sin(angle));
  }
}

}  // namespace

void Random::do_dropout(const api::Dropout& a) {
  with_real(a.x.dtype(), [&](auto t) { run_dropout<decltype(t)>(a); });
}

void Random::do_uniform(const api::RandomUniform& a) {
  with_real(a.x.dtype(), [&](auto t) { run_uniform<decltype(t)>(a); });
}

void Random::do_normal(const api::RandomNormal& a) {
  with_real(a.x.dtype(), [&](auto t) { run_normal<decltype(t)>(a); });
}

}  // namespace isaribi::reference
