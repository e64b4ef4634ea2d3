// SPDX-License-Identifier: MIT
// Depthwise convolutions and those of groups of few channels: bound by memory, so x is read where
// it lies (nothing is padded) and the rows that come next are fetched while these are multiplied.
#include <algorithm>
#include <bit>

#include "backends/simd/conv.hpp"
#include "backends/simd/conv_weights.hpp"
#include "backends/simd/parallel.hpp"

namespace isaribi::simd {
namespace {

// Elements of x and dy whose gradient is summed by itself: decides where sums are cut. The sums of
// groups are more, and to begin and end them takes longer.
constexpr std::int64_t kStripElements = 64 << 10, kGroupStripElements = 128 << 10;

std::uint64_t as_unsigned(std::int64_t n) {
  return static_cast<std::uint64_t>(n);
}

/// Whether groups of `in` and `out` channels are exchanges of channels within a vector, see
/// DepthwiseRows.
bool small_groups(std::int64_t groups, std::int64_t in, std::int64_t out, const Kernels& kernels) {
  return groups > 1 && in == out && in <= kernels.lanes && std::has_single_bit(as_unsigned(in));
}

/// As DepthwiseRows has weights.
void pack(const ConvWork& work, const Phase& phase, std::int64_t lanes, float* to) {
  const std::int64_t group = work.group_in;
  const int bits = std::countr_zero(as_unsigned(group));  // divisions would be felt
  for (std::int64_t first = 0; first < work.c; first += lanes) {
    for (std::int64_t d = 0; d < group; ++d) {
      for (const Tap& tap : phase.taps) {
        const float* weights = work.weights + tap.index * work.w_tap;
        for (std::int64_t c = first; c < first + lanes; ++c) {
          const std::int64_t in = c & (group - 1), out = in ^ d;
          const std::int64_t at = (c >> bits) * work.w_group + out * work.w_out + in * work.w_in;
          *to++ = c < work.c ? weights[at] : 0.0f;
        }
      }
    }
  }
}

constexpr std::int64_t kRowsTogether = 2;  // of the output

/// The taps of a phase as a grid: rows of `taps` each.
DepthwiseRows grid_of(const ConvWork& work, const Phase& phase) {
  DepthwiseRows a{};
  const auto& taps = phase.taps;
  while (a.taps < static_cast<int>(taps.size()) &&
         taps[static_cast<std::size_t>(a.taps)].row == taps.front().row)
    ++a.taps;
  a.rows = a.taps > 0 ? static_cast<int>(taps.size()) / a.taps : 0;
  a.height = work.h;
  a.width = work.w;
  a.channels = work.c;
  a.group = static_cast<int>(work.group_in);
  a.step_h = work.in_step_h;
  a.row_step = a.rows > 1 ? taps[static_cast<std::size_t>(a.taps)].row - taps[0].row : 1;
  a.step = work.in_step_w;
  a.first = taps.empty() ? 0 : taps.front().column - work.lead_w;
  a.tap_step = a.taps > 1 ? taps[1].column - taps[0].column : 1;
  a.columns = phase.columns;
  return a;
}

/// Rows [row, row + kRowsTogether) of a phase of image n.
void run_rows(const ConvWork& work, std::size_t index, const Kernels& kernels, DepthwiseRows a,
              const float* w, std::int64_t n, std::int64_t row) {
  const Phase& phase = work.phases[index];
  DepthwiseOutput o{};
  o.rows = std::min(kRowsTogether, phase.rows - row);
  if (o.rows <= 0) return;
  a.x = work.x + n * work.h * work.w * work.c;
  a.top = (phase.taps.empty() ? 0 : phase.taps.front().row - work.lead_h) + row * work.in_step_h;
  const std::int64_t read = std::clamp<std::int64_t>(a.top + a.rows - 1, 0, work.h);
  // The first phase fetches the rows of x that come next; in memory the next image follows.
  const std::int64_t next = index == 0 ? o.rows * work.in_step_h : 0;
  a.ahead = a.x + std::min(work.h, read + next) * work.w * work.c;
  o.w = w + phase.weights;
  o.bias = work.bias;
  o.relu = work.relu;
  const std::int64_t y_row = work.out_w * work.out_c;
  o.y_row = work.out_step_h * y_row;
  o.y_pixel = work.out_step_w * work.out_c;
  float* rows = work.y + (n * work.out_h + row * work.out_step_h) * y_row;
  o.y = rows + phase.first_row * y_row + phase.first_column * work.out_c;
  // Each phase fetches its share of the rows of y that all of them write next.
  const auto count = static_cast<std::int64_t>(work.phase_count);
  o.ahead = rows + o.rows * o.y_row + static_cast<std::int64_t>(index) * (o.rows * o.y_row / count);
  kernels.depthwise_output(a, o);
}

/// The gradient of channels [channels) over samples [samples): the sum of those of strips of rows,
/// or of whole images.
void add_block(const api::ConvBackwardWeights& args, const Kernels& kernels, DepthwiseRows a,
               Range samples, Range channels, float* acc, float* strip_acc) {
  const core::Shape &x = args.x.shape(), &dy = args.dy.shape();
  const api::ConvGeometry& g = args.geometry;
  const std::int64_t sums = static_cast<std::int64_t>(a.group) * a.rows * a.taps;  // of a channel
  const std::int64_t first = sums * channels.begin;
  const std::int64_t count = sums * round_up(channels.end, kernels.lanes) - first;
  std::fill_n(acc + first, count, 0.0f);
  const std::int64_t dy_row = dy[2] * dy[3], x_row = x[2] * x[3];
  const std::int64_t row_elements = dy_row + g.stride_h * x_row;
  const std::int64_t image_elements = std::max<std::int64_t>(1, dy[1] * row_elements);
  const std::int64_t most = a.group > 1 ? kGroupStripElements : kStripElements;
  const std::int64_t strips = std::max<std::int64_t>(1, image_elements / most);
  const std::int64_t strip = (dy[1] + strips - 1) / strips;
  const std::int64_t images = a.group > 1 ? std::max<std::int64_t>(1, most / image_elements) : 1;
  for (std::int64_t n = samples.begin; n < samples.end; ++n) {
    const std::int64_t image = (n - samples.begin) % images;  // of a strip
    a.x = args.x.data<float>() + n * x[1] * x_row;
    for (std::int64_t row = 0; row < dy[1]; row += strip) {
      a.top = row * g.stride_h - g.pad_top;
      DepthwiseGradient d{};
      d.dy = args.dy.data<float>() + (n * dy[1] + row) * dy_row;
      d.rows = std::min(strip, dy[1] - row);
      d.begin = channels.begin;
      d.end = channels.end;
      d.acc = strip_acc;
      d.add = image > 0;
      d.ahead = d.dy + d.rows * dy_row;
      a.ahead = a.x + std::min(x[1], a.top + d.rows * g.stride_h + 1) * x_row;
      kernels.depthwise_gradient(a, d);
      if (image + 1 < images && n + 1 < samples.end) continue;
      kernels.add(acc + first, strip_acc + first, acc + first, count, false);
    }
  }
}

/// dw (OHWI) from sums as DepthwiseRows has them.
template <typename T>
void store_gradient(const double* sums, const DepthwiseRows& a, std::int64_t lanes, T* dw,
                    bool accumulate) {
  const int taps = a.rows * a.taps, group = a.group;
  for (std::int64_t o = 0; o < a.channels; ++o) {
    for (int t = 0; t < taps; ++t) {
      for (int i = 0; i < group; ++i) {
        T& to = dw[(o * taps + t) * group + i];
        const std::int64_t d = (o & (group - 1)) ^ i, c = o ^ d, lane = c & (lanes - 1);
        const double value = sums[((c - lane) * group + d * lanes) * taps + t * lanes + lane];
        to = accumulate ? static_cast<T>(static_cast<double>(to) + value) : static_cast<T>(value);
      }
    }
  }
}

}  // namespace

bool run_depthwise(ConvWork& work, Context& context) {
  const Kernels& kernels = context.kernels();
  if (!small_groups(work.groups, work.group_in, work.group_out, kernels)) return false;
  // Of a whole 512-bit vector of channels, pixels two apart, panels (conv_run.cpp) are faster.
  if (work.group_in == 16 && work.in_step_w > 1) return false;
  for (std::size_t i = 0; i < work.phase_count && work.group_in > 1; ++i) {
    const Phase& phase = work.phases[i];
    if (!phase.taps.empty() && !kernels.depthwise_tiled(grid_of(work, phase))) return false;
  }
  std::int64_t taps = 0, rows = 0, columns = 0;
  for (std::size_t i = 0; i < work.phase_count; ++i) {
    Phase& phase = work.phases[i];
    phase.weights = taps * round_up(work.c, kernels.lanes) * work.group_in;
    taps += static_cast<std::int64_t>(phase.taps.size());
    rows = std::max(rows, phase.rows);
    columns = std::max(columns, phase.columns);
  }
  float* w = context.scratch.get<float>(Use::weights,
                                        taps * round_up(work.c, kernels.lanes) * work.group_in);
  for (std::size_t i = 0; i < work.phase_count; ++i)
    pack(work, work.phases[i], kernels.lanes, w + work.phases[i].weights);
  const std::int64_t parts = (rows + kRowsTogether - 1) / kRowsTogether, items = work.n * parts;
  parallel_ranges(items, work.n * rows * columns * work.c, 1, [&](Range r) {
    for (std::int64_t item = r.begin; item < r.end; ++item) {
      for (std::size_t i = 0; i < work.phase_count; ++i)
        run_rows(work, i, kernels, grid_of(work, work.phases[i]), w, item / parts,
                 item % parts * kRowsTogether);
    }
  });
  return true;
}

bool run_depthwise_weights(const api::ConvBackwardWeights& args, Context& context) {
  const core::Shape &x = args.x.shape(), &dw = args.dw.shape(), &dy = args.dy.shape();
  const api::ConvGeometry& g = args.geometry;
  const Kernels& kernels = context.kernels();
  if (!small_groups(g.groups, dw[3], dw[0] / g.groups, kernels)) return false;
  Scratch& scratch = context.ready();
  DepthwiseRows a{};
  a.height = x[1];
  a.width = x[2];
  a.step_h = g.stride_h;
  a.row_step = g.dilation_h;
  a.first = -g.pad_left;
  a.tap_step = g.dilation_w;
  a.step = g.stride_w;
  a.rows = static_cast<int>(dw[1]);
  a.taps = static_cast<int>(dw[2]);
  a.columns = dy[2];
  a.channels = x[3];
  a.group = static_cast<int>(dw[3]);
  if (a.group > 1 && !kernels.depthwise_gradient_tiled(a)) return false;
  const std::int64_t elements = dw[1] * dw[2] * dw[3] * round_up(x[3], kernels.lanes);
  const std::int64_t blocks = (x[0] + api::kSampleBlock - 1) / api::kSampleBlock;
  double* sums = scratch.get<double>(Use::sums, elements);
  float* partial = scratch.get<float>(Use::partial, std::max<std::int64_t>(1, blocks) * elements);
  // With more threads than blocks the channels are shared, too.
  const int threads = omp_get_max_threads();
  const std::int64_t vectors = (x[3] + kernels.lanes - 1) / kernels.lanes;
  const auto slices = static_cast<int>(
      std::clamp<std::int64_t>(threads / std::max<std::int64_t>(1, blocks), 1, vectors));
  parallel_ranges(blocks * slices, args.dy.count() * dw[1] * dw[2] * dw[3], 1, [&](Range r) {
    for (std::int64_t item = r.begin; item < r.end; ++item) {
      const std::int64_t block = item / slices, n = block * api::kSampleBlock;
      add_block(args, kernels, a, {n, std::min(x[0], n + api::kSampleBlock)},
                share(x[3], static_cast<int>(item % slices), slices, kernels.lanes),
                partial + block * elements,
                scratch.get<float>(Use::weights, elements, omp_get_thread_num()));
    }
  });
  std::fill(sums, sums + elements, 0.0);
  for (std::int64_t block = 0; block < blocks; ++block)
    kernels.add_in_double(partial + block * elements, sums, elements, true);
  if (args.dw.dtype() == core::DType::f64) {
    store_gradient(sums, a, kernels.lanes, args.dw.data<double>(), args.accumulate);
  } else {
    store_gradient(sums, a, kernels.lanes, args.dw.data<float>(), args.accumulate);
  }
  return true;
}

}  // namespace isaribi::simd
