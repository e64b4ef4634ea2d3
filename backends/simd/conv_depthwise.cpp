// SPDX-License-Identifier: MIT
// Depthwise convolutions: bound by memory, so x is read where it lies (nothing is padded) and the
// rows that come next are fetched while these are multiplied.
#include <algorithm>
#include <cstring>

#include "backends/simd/conv.hpp"
#include "backends/simd/conv_weights.hpp"
#include "backends/simd/parallel.hpp"

namespace isaribi::simd {
namespace {

constexpr std::int64_t kStripElements = 64 << 10;  // of x and dy; decides where sums are cut

/// [tap][c].
void pack(const ConvWork& work, const Phase& phase, float* to) {
  for (const Tap& tap : phase.taps) {
    for (std::int64_t c = 0; c < work.c; ++c)
      *to++ = work.weights[c * work.w_group + tap.index * work.w_tap];
  }
}

/// The taps of a phase as a grid: rows of `taps` each.
DepthwiseRows grid_of(const ConvWork& work, const Phase& phase) {
  DepthwiseRows a{};
  const auto& taps = phase.taps;
  while (a.taps < static_cast<int>(taps.size()) &&
         taps[static_cast<std::size_t>(a.taps)].row == taps.front().row)
    ++a.taps;
  a.width = work.w;
  a.step = work.in_step_w;
  a.first = taps.empty() ? 0 : taps.front().column - work.lead_w;
  a.tap_step = a.taps > 1 ? taps[1].column - taps[0].column : 1;
  const auto next = static_cast<std::size_t>(a.taps);
  a.x_row = next < taps.size() ? (taps[next].row - taps[0].row) * work.w * work.c : 0;
  a.columns = phase.columns;
  a.channels = work.c;
  return a;
}

/// Row `row` of a phase of image n.
void run_row(const ConvWork& work, const Phase& phase, const Kernels& kernels, DepthwiseRows a,
             const float* w, std::int64_t n, std::int64_t row) {
  const auto tap_rows =
      a.taps > 0 ? static_cast<std::int64_t>(phase.taps.size()) / a.taps : std::int64_t{0};
  const auto at = [&](std::int64_t r) {
    return phase.taps[static_cast<std::size_t>(r * a.taps)].row + row * work.in_step_h -
           work.lead_h;
  };
  std::int64_t begin = 0, end = tap_rows;
  while (begin < end && at(begin) < 0) ++begin;
  while (end > begin && at(end - 1) >= work.h) --end;
  a.rows = static_cast<int>(end - begin);
  const float* image = work.x + n * work.h * work.w * work.c;
  a.x = a.rows > 0 ? image + at(begin) * work.w * work.c : image;
  const std::int64_t next = a.rows > 0 ? at(end - 1) + work.in_step_h : work.h;
  // The row after the last one of an image is the first one of the next.
  a.ahead = n * work.h + next < work.n * work.h ? image + next * work.w * work.c : nullptr;
  DepthwiseOutput o{};
  o.w = w + begin * a.taps * work.c;
  o.bias = work.bias;
  o.relu = work.relu;
  o.y_pixel = work.out_step_w * work.out_c;
  o.y = work.y + ((n * work.out_h + phase.first_row + row * work.out_step_h) * work.out_w +
                  phase.first_column) *
                     work.out_c;
  o.ahead = o.y + work.out_step_h * work.out_w * work.out_c;
  kernels.depthwise_output(a, o);
}

/// The gradient of channels [channels) over samples [samples).
void add_block(const api::ConvBackwardWeights& args, const Kernels& kernels, DepthwiseRows a,
               const float* zeros, Range samples, Range channels, float* acc) {
  const core::Shape &x = args.x.shape(), &dy = args.dy.shape();
  const api::ConvGeometry& g = args.geometry;
  for (int tap = 0; tap < a.rows * a.taps; ++tap)
    std::fill(acc + tap * a.channels + channels.begin, acc + tap * a.channels + channels.end, 0.0f);
  const std::int64_t dy_row = dy[2] * dy[3];
  const std::int64_t row_elements = dy_row + g.stride_h * a.x_row;
  const std::int64_t strips = std::max<std::int64_t>(1, dy[1] * row_elements / kStripElements);
  const std::int64_t strip = (dy[1] + strips - 1) / strips;
  for (std::int64_t n = samples.begin; n < samples.end; ++n) {
    a.x = args.x.data<float>() + n * x[1] * a.x_row;
    for (std::int64_t row = 0; row < dy[1]; row += strip) {
      DepthwiseGradient d{};
      d.top = row * g.stride_h - g.pad_top;
      d.step_h = g.stride_h;
      d.row_step = g.dilation_h;
      d.height = x[1];
      d.dy = args.dy.data<float>() + (n * dy[1] + row) * dy_row;
      d.rows = std::min(strip, dy[1] - row);
      d.begin = channels.begin;
      d.end = channels.end;
      d.acc = acc;
      d.zeros = zeros;
      d.ahead_dy = d.dy + d.rows * dy_row;
      d.ahead_x = a.x + std::min(x[1], d.top + d.rows * g.stride_h + 1) * a.x_row;
      kernels.depthwise_gradient(a, d);
    }
  }
}

template <typename T>
void store_gradient(const double* sums, std::int64_t taps, std::int64_t channels, T* dw,
                    bool accumulate) {
  for (std::int64_t c = 0; c < channels; ++c) {
    for (std::int64_t t = 0; t < taps; ++t) {
      T& to = dw[c * taps + t];
      const double value = sums[t * channels + c];
      to = accumulate ? static_cast<T>(static_cast<double>(to) + value) : static_cast<T>(value);
    }
  }
}

}  // namespace

bool run_depthwise(ConvWork& work, Context& context) {
  if (work.groups != work.c || work.group_out != 1 || work.c == 1) return false;
  const Kernels& kernels = context.kernels();
  for (std::size_t i = 0; i < work.phase_count; ++i) {
    const Phase& phase = work.phases[i];
    float* w = context.scratch.get<float>(Use::weights,
                                          static_cast<std::int64_t>(phase.taps.size()) * work.c);
    pack(work, phase, w);
    const DepthwiseRows grid = grid_of(work, phase);
    const std::int64_t items = work.n * phase.rows;
    parallel_ranges(items, items * phase.columns * work.c, 1, [&](Range r) {
      for (std::int64_t item = r.begin; item < r.end; ++item)
        run_row(work, phase, kernels, grid, w, item / phase.rows, item % phase.rows);
    });
  }
  return true;
}

bool run_depthwise_weights(const api::ConvBackwardWeights& args, Context& context) {
  const core::Shape &x = args.x.shape(), &dw = args.dw.shape(), &dy = args.dy.shape();
  const api::ConvGeometry& g = args.geometry;
  if (g.groups == 1 || dw[3] != 1 || dw[0] != g.groups) return false;
  const Kernels& kernels = context.kernels();
  Scratch& scratch = context.ready();
  DepthwiseRows a{};
  a.width = x[2];
  a.first = -g.pad_left;
  a.tap_step = g.dilation_w;
  a.step = g.stride_w;
  a.rows = static_cast<int>(dw[1]);
  a.taps = static_cast<int>(dw[2]);
  a.x_row = x[2] * x[3];
  a.columns = dy[2];
  a.channels = x[3];
  const std::int64_t elements = dw[1] * dw[2] * x[3];
  const std::int64_t blocks = (x[0] + api::kSampleBlock - 1) / api::kSampleBlock;
  double* sums = scratch.get<double>(Use::sums, elements);
  float* partial = scratch.get<float>(Use::partial, std::max<std::int64_t>(1, blocks) * elements);
  float* zeros = scratch.get<float>(Use::strip, a.x_row);
  std::fill(zeros, zeros + a.x_row, 0.0f);
  // With more threads than blocks the channels are shared, too.
  const int threads = omp_get_max_threads();
  const std::int64_t vectors = (x[3] + kernels.lanes - 1) / kernels.lanes;
  const auto slices = static_cast<int>(
      std::clamp<std::int64_t>(threads / std::max<std::int64_t>(1, blocks), 1, vectors));
  parallel_ranges(blocks * slices, args.dy.count() * dw[1] * dw[2], 1, [&](Range r) {
    for (std::int64_t item = r.begin; item < r.end; ++item) {
      const std::int64_t block = item / slices, n = block * api::kSampleBlock;
      add_block(args, kernels, a, zeros, {n, std::min(x[0], n + api::kSampleBlock)},
                share(x[3], static_cast<int>(item % slices), slices, kernels.lanes),
                partial + block * elements);
    }
  });
  std::fill(sums, sums + elements, 0.0);
  for (std::int64_t block = 0; block < blocks; ++block)
    kernels.add_in_double(partial + block * elements, sums, elements, true);
  if (args.dw.dtype() == core::DType::f64) {
    store_gradient(sums, dw[1] * dw[2], x[3], args.dw.data<double>(), args.accumulate);
  } else {
    store_gradient(sums, dw[1] * dw[2], x[3], args.dw.data<float>(), args.accumulate);
  }
  return true;
}

}  // namespace isaribi::simd
