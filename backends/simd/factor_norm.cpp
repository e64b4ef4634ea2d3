// SPDX-License-Identifier: MIT
// The unit-wise Fisher of batch norm: the pass of its backward reduction over one sample at a time,
// then the products of the two sums in the order of the samples.
#include <algorithm>

#include "backends/simd/factor.hpp"
#include "backends/simd/norm.hpp"
#include "backends/simd/parallel.hpp"

namespace isaribi::simd {
namespace {

/// Channel c of the sums of `periods` whole periods and of the elements behind them.
struct SampleSums {
  const ChannelPass& pass;  // of all samples
  std::int64_t channels, elements, period;

  /// to: [2, channels]: sum dy', sum dy' x^ of the sample that begins at element `start`.
  void run(const Kernels& kernels, std::int64_t start, double* sums, double* to) const {
    ChannelPass a = pass;
    a.x += start;
    a.dy += start;
    if (a.y) a.y += start;
    a.period = period;
    a.periods = elements / period;
    a.sum0 = sums;
    a.sum1 = sums + period;
    std::fill(to, to + 2 * channels, 0.0);
    if (a.periods > 0) {
      kernels.bn_backward_reduce(a);
      for (std::int64_t k = 0; k < period; k += channels) {
        for (std::int64_t c = 0; c < channels; ++c) {
          to[c] += a.sum0[k + c];
          to[channels + c] += a.sum1[k + c];
        }
      }
    }
    for (std::int64_t i = a.periods * period; i < elements; ++i) {
      if (a.y && !(a.y[i] > 0.0f)) continue;
      const std::int64_t c = i % channels;
      const auto gradient = static_cast<double>(a.dy[i]);
      to[c] += gradient;
      to[channels + c] += gradient * static_cast<double>((a.x[i] - a.mean[c]) * a.inv_std[c]);
    }
  }
};

}  // namespace

void Factor::do_norm_fisher(const api::NormFisher& args) {
  if (!owns(api::Op::norm_fisher, args.x.dtype())) {
    context_.fall_back(api::Op::norm_fisher, args.x).factor().norm_fisher(args);
    return;
  }
  const std::int64_t samples = args.x.shape()[0], channels = args.x.shape().back();
  if (channels == 0) return;
  const std::int64_t period = channel_period(channels, context_.kernels().lanes);
  Scratch& scratch = context_.ready();
  float* mean = scratch.get<float>(Use::channels, 2 * period);
  float* inv_std = mean + period;
  for (std::int64_t i = 0; i < period; ++i) {
    mean[i] = args.mean.data<float>()[i % channels];
    inv_std[i] = args.inv_std.data<float>()[i % channels];
  }
  ChannelPass pass{};
  pass.x = args.x.data<float>();
  pass.y = args.activation == api::Activation::relu ? args.y.data<float>() : nullptr;
  pass.dy = args.dy.data<float>();
  pass.mean = mean;
  pass.inv_std = inv_std;
  const SampleSums sums{pass, channels, samples > 0 ? args.x.count() / samples : 0, period};
  double* all = scratch.get<double>(Use::sums, std::max<std::int64_t>(1, samples) * 2 * channels);
  parallel_ranges(samples, args.x.count(), 1, [&](Range r) {
    double* partial = scratch.get<double>(Use::partial, 2 * period, omp_get_thread_num());
    for (std::int64_t n = r.begin; n < r.end; ++n)
      sums.run(context_.kernels(), n * sums.elements, partial, all + n * 2 * channels);
  });
  double* out = args.sums.data<double>();
  for (std::int64_t c = 0; c < channels; ++c) {
    double moments[3] = {};
    for (std::int64_t n = 0; n < samples; ++n) {
      const double v = all[n * 2 * channels + c], u = all[(n * 2 + 1) * channels + c];
      moments[0] += u * u;
      moments[1] += u * v;
      moments[2] += v * v;
    }
    for (std::int64_t m = 0; m < 3; ++m) {
      double& sum = out[m * channels + c];
      sum = args.scale * moments[m] + (args.accumulate ? sum : 0.0);
    }
  }
}

}  // namespace isaribi::simd
