// SPDX-License-Identifier: MIT
// Losses row by row. Softmax: exponentials in f64, a few thousand of them per step, far below
// anything worth a vector exponential; Bernoulli: an exponential and a logarithm per output of an
// autoencoder, in vectors.
#include "backends/simd/loss.hpp"

#include <cmath>

#include "backends/simd/parallel.hpp"

namespace isaribi::simd {
namespace {

/// One sample; e is room for C doubles.
double one_row(const float* z, const float* t, float* dz, std::int64_t c, double scale, double* e) {
  double top = static_cast<double>(z[0]);
  for (std::int64_t i = 1; i < c; ++i) {
    const auto v = static_cast<double>(z[i]);
    if (v > top || std::isnan(v)) top = v;
  }
  double sum = 0, targets = 0, inner = 0;
  for (std::int64_t i = 0; i < c; ++i) {
    const double shifted = static_cast<double>(z[i]) - top;
    e[i] = std::exp(shifted);
    sum += e[i];
    targets += static_cast<double>(t[i]);
    if (t[i] != 0.0f) inner += static_cast<double>(t[i]) * shifted;
  }
  for (std::int64_t i = 0; dz && i < c; ++i) {
    dz[i] = static_cast<float>(scale * (e[i] / sum * targets - static_cast<double>(t[i])));
  }
  return targets * std::log(sum) - inner;
}

}  // namespace

void Loss::do_softmax_cross_entropy(const api::Loss& args) {
  if (!owns(api::Op::softmax_cross_entropy, args.z.dtype())) {
    context_.fall_back(api::Op::softmax_cross_entropy, args.z).loss().softmax_cross_entropy(args);
    return;
  }
  const std::int64_t n = args.z.shape()[0], c = args.z.shape()[1];
  if (n == 0 || c == 0) return;
  Scratch& scratch = context_.ready();
  const float *z = args.z.data<float>(), *t = args.targets.data<float>();
  float* dz = args.dz.defined() ? args.dz.data<float>() : nullptr;
  double* loss = args.loss.data<double>();
  parallel_ranges(n, n * c * 16, 1, [&](Range r) {
    double* e = scratch.get<double>(Use::result, c, omp_get_thread_num());
    for (std::int64_t i = r.begin; i < r.end; ++i) {
      loss[i] = one_row(z + i * c, t + i * c, dz ? dz + i * c : nullptr, c, args.scale, e);
    }
  });
}

void Loss::do_mean_squared_error(const api::Loss& args) {
  context_.fall_back(api::Op::mean_squared_error, args.z).loss().mean_squared_error(args);
}

void Loss::do_bernoulli_cross_entropy(const api::Loss& args) {
  if (!owns(api::Op::bernoulli_cross_entropy, args.z.dtype())) {
    context_.fall_back(api::Op::bernoulli_cross_entropy, args.z)
        .loss()
        .bernoulli_cross_entropy(args);
    return;
  }
  const std::int64_t n = args.z.shape()[0], c = args.z.shape()[1];
  const float *z = args.z.data<float>(), *t = args.targets.data<float>();
  float* dz = args.dz.defined() ? args.dz.data<float>() : nullptr;
  double* loss = args.loss.data<double>();
  parallel_ranges(n, n * c * 16, 1, [&](Range r) {
    for (std::int64_t i = r.begin; i < r.end; ++i)
      loss[i] = context_.kernels().bernoulli_row(z + i * c, t + i * c, dz ? dz + i * c : nullptr, c,
                                                 static_cast<float>(args.scale));
  });
}

void Loss::do_one_hot(const api::OneHot& args) {
  context_.fall_back(api::Op::one_hot, args.targets).loss().one_hot(args);
}

}  // namespace isaribi::simd
