// SPDX-License-Identifier: MIT
// Rows of pixels are summed over the samples of a block in f32, then, in f64, over the rows that
// each row of the kernel sees, over blocks, and over the columns that each tap sees. So every pixel
// is added once, not once per tap.
#include "backends/simd/factor_means.hpp"

#include <algorithm>

#include "backends/simd/parallel.hpp"

namespace isaribi::simd {
namespace {

constexpr std::int64_t kElements = 4096;  // of sums that stay in L1

/// Of `count` outputs, those that see one of `pixels` with a tap `offset` behind the first one.
Range outputs(Range pixels, std::int64_t offset, std::int64_t stride, std::int64_t count) {
  const auto first = [&](std::int64_t pixel) {  // that sees it or one behind it
    return std::min(count, (std::max<std::int64_t>(0, pixel - offset) + stride - 1) / stride);
  };
  return {first(pixels.begin), first(pixels.end)};
}

struct Means {
  const api::PatchCovariance& args;
  std::int64_t h, w, channels, out_h, out_w;
  std::int64_t row() const { return w * channels; }
  std::int64_t size() const { return args.kh * row(); }
};

Means means_of(const api::PatchCovariance& args) {
  const core::Shape& x = args.x.shape();
  const api::ConvGeometry& g = args.geometry;
  return {args, x[1], x[2], x[3], g.out_h(x[1], args.kh), g.out_w(x[2], args.kw)};
}

/// seen[r][w, c] = the sum over `samples` samples and the rows that kernel row r sees.
void sum_block(const Means& m, const float* x, std::int64_t samples, Context& context,
               double* seen) {
  const api::ConvGeometry& g = m.args.geometry;
  const Kernels& kernels = context.kernels();
  const std::int64_t row = m.row(), rows = kElements / std::clamp<std::int64_t>(row, 1, kElements);
  float* sum = context.scratch.get<float>(Use::weights, rows * row, omp_get_thread_num());
  std::fill_n(seen, m.size(), 0.0);
  for (std::int64_t top = 0; top < m.h; top += rows) {
    const std::int64_t end = std::min(m.h, top + rows), count = (end - top) * row;
    const float* from = x + top * row;
    std::copy_n(from, count, sum);
    for (std::int64_t n = 1; n < samples; ++n)
      kernels.add(sum, from + n * m.h * row, sum, count, false);
    for (std::int64_t r = 0; r < m.args.kh; ++r) {
      const std::int64_t offset = r * g.dilation_h - g.pad_top;
      const Range rows_out = outputs({top, end}, offset, g.stride_h, m.out_h);
      for (std::int64_t p = rows_out.begin; p < rows_out.end; ++p)
        kernels.add_in_double(sum + (p * g.stride_h + offset - top) * row, seen + r * row, row,
                              true);
    }
  }
}

/// The windows of all taps, from what their rows see.
void add_windows(const Means& m, const double* seen, double* sums) {
  const api::ConvGeometry& g = m.args.geometry;
  const std::int64_t per = m.channels / g.groups, length = m.args.length();
  for (std::int64_t r = 0; r < m.args.kh; ++r) {
    for (std::int64_t s = 0; s < m.args.kw; ++s) {
      const std::int64_t offset = s * g.dilation_w - g.pad_left;
      const Range columns = outputs({0, m.w}, offset, g.stride_w, m.out_w);
      for (std::int64_t q = columns.begin; q < columns.end; ++q) {
        const double* pixel = seen + r * m.row() + (q * g.stride_w + offset) * m.channels;
        for (std::int64_t group = 0; group < g.groups; ++group, pixel += per) {
          double* last = sums + (group + 1) * length * length - length;
          for (std::int64_t c = 0; c < per; ++c) last[(r * m.args.kw + s) * per + c] += pixel[c];
        }
      }
    }
  }
}

}  // namespace

void sum_means(const api::PatchCovariance& args, const FactorSums& sums, Context& context) {
  const Means m = means_of(args);
  const std::int64_t n = args.x.shape()[0], length = args.length(), size = m.size();
  const std::int64_t blocks = (n + api::kSampleBlock - 1) / api::kSampleBlock;
  double* seen = context.ready().get<double>(Use::channels, (blocks + 1) * size);
  parallel_ranges(blocks, args.x.count(), 1, [&](Range r) {
    for (std::int64_t b = r.begin; b < r.end; ++b) {
      const std::int64_t first = b * api::kSampleBlock;
      sum_block(m, args.x.data<float>() + first * m.h * m.row(),
                std::min(api::kSampleBlock, n - first), context, seen + b * size);
    }
  });
  for (std::int64_t b = 1; b < blocks; ++b) context.kernels().add_f64(seen, seen + b * size, size);
  if (blocks > 0) add_windows(m, seen, sums.data);
  for (std::int64_t group = 1; group <= args.geometry.groups; ++group)
    sums.data[group * length * length - 1] = static_cast<double>(n * m.out_h * m.out_w);
}

}  // namespace isaribi::simd
