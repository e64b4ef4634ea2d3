// SPDX-License-Identifier: MIT
// x is one long row, of C channels again and again: its products with what lies d elements further,
// d < C, are the upper triangle, summed by the channel of the first element. Lanes have the same
// channel in every period of lcm(C, lanes) elements, so that the kernel sums periods, and lanes are
// told apart once per block of samples.
#include "backends/simd/factor_flat.hpp"

#include <algorithm>

#include "backends/simd/parallel.hpp"

namespace isaribi::simd {
namespace {

/// sums[i][j] += the sum over pixels of x[i] x[j] for i <= j; rows of `length` elements.
void sum_block(const float* x, std::int64_t count, std::int64_t channels, const Kernels& kernels,
               std::int64_t length, double* sums) {
  const std::int64_t lanes = kernels.lanes, period = kernels.flat_vectors[channels] * lanes;
  const std::int64_t periods = std::max<std::int64_t>(0, count - lanes) / period;
  alignas(64) float acc[kMostFlatSums * 16];
  kernels.flat_products(x, static_cast<int>(channels), periods, acc);
  for (std::int64_t at = 0; at < period; ++at) {
    const std::int64_t i = at % channels, vector = at / lanes, lane = at % lanes;
    for (std::int64_t d = 0; i + d < channels; ++d)
      sums[i * length + i + d] += static_cast<double>(acc[(vector * channels + d) * lanes + lane]);
  }
  for (std::int64_t at = periods * period; at < count; at += channels) {
    for (std::int64_t i = 0; i < channels; ++i) {
      for (std::int64_t j = i; j < channels; ++j)
        sums[i * length + j] += static_cast<double>(x[at + i]) * static_cast<double>(x[at + j]);
    }
  }
}

}  // namespace

bool is_flat(const api::PatchCovariance& args, const Kernels& kernels) {
  const std::int64_t channels = args.x.shape()[3];
  return args.kh == 1 && args.kw == 1 && args.geometry == api::ConvGeometry{} &&
         channels <= kMostFlatChannels && kernels.flat_vectors[channels] > 0;
}

FactorSums run_flat(const api::PatchCovariance& args, Context& context) {
  const core::Shape& x = args.x.shape();
  const std::int64_t n = x[0], length = args.length(), size = length * length;
  const std::int64_t blocks = (n + api::kSampleBlock - 1) / api::kSampleBlock;
  const std::int64_t sample = x[1] * x[2] * x[3];
  double* sums = context.ready().get<double>(Use::sums, (blocks + 1) * size);
  std::fill_n(sums, (blocks + 1) * size, 0.0);
  // What was written last comes first: a thread's cache may hold no more of its share.
  parallel_ranges(blocks, args.x.count(), 1, [&](Range r) {
    for (std::int64_t b = r.end - 1; b >= r.begin; --b) {
      const std::int64_t first = b * api::kSampleBlock;
      sum_block(args.x.data<float>() + first * sample,
                std::min(api::kSampleBlock, n - first) * sample, x[3], context.kernels(), length,
                sums + b * size);
    }
  });
  return {sums, std::max<std::int64_t>(1, blocks), size};
}

}  // namespace isaribi::simd
