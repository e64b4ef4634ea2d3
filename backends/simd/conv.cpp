// SPDX-License-Identifier: MIT
// Convolution forward and data gradient, put into the common form of ConvWork.
#include "backends/simd/conv.hpp"

#include <algorithm>

#include "backends/simd/gemm.hpp"
#include "backends/simd/parallel.hpp"

namespace isaribi::simd {
namespace {

/// A 1 x 1 convolution without padding or groups: a product of matrices of the pixels it meets.
bool pointwise(const core::Shape& w, const api::ConvGeometry& g) {
  return w[1] == 1 && w[2] == 1 && g.groups == 1 &&
         g.pad_top + g.pad_bottom + g.pad_left + g.pad_right == 0;
}
bool strided(const api::ConvGeometry& g) {
  return g.stride_h > 1 || g.stride_w > 1;
}

/// y = act(x w^T + bias) over `rows` pixels, channels last.
Product product_of(const float* x, std::int64_t rows, const api::ConvForward& args, float* y) {
  const std::int64_t in = args.w.shape()[3], out = args.w.shape()[0];
  return {rows,
          out,
          in,
          {x, in, 1},
          {args.w.data<float>(), 1, in},
          y,
          out,
          1.0f,
          0.0f,
          args.bias.defined() ? args.bias.data<float>() : nullptr,
          args.activation == api::Activation::relu};
}

constexpr std::int64_t kGathered = 2 << 20;      // elements, at most a few times an L2
constexpr std::int64_t kGatheredChannels = 128;  // fewer are read where they lie

/// Pixels of images [n, n + images) that a strided 1 x 1 convolution meets, one after another.
void gather_pixels(const api::ConvForward& args, std::int64_t n, std::int64_t images, float* to) {
  const core::Shape &x = args.x.shape(), &y = args.y.shape();
  const api::ConvGeometry& g = args.geometry;
  const std::int64_t rows = images * y[1], row = y[2] * x[3];
  parallel_ranges(rows, rows * row, 1, [&](Range r) {
    for (std::int64_t i = r.begin; i < r.end; ++i) {
      const float* from =
          args.x.data<float>() + ((n + i / y[1]) * x[1] + i % y[1] * g.stride_h) * x[2] * x[3];
      for (std::int64_t q = 0; q < y[2]; ++q)
        std::copy_n(from + q * g.stride_w * x[3], x[3], to + i * row + q * x[3]);
    }
  });
}

/// Gathers, then multiplies, some images at a time.
void run_strided(const api::ConvForward& args, Context& context) {
  const core::Shape &x = args.x.shape(), &y = args.y.shape();
  const std::int64_t pixels = y[1] * y[2], image = pixels * x[3];
  const std::int64_t together =
      std::clamp<std::int64_t>(kGathered / image, 1, std::max<std::int64_t>(1, x[0]));
  float* chosen = context.scratch.get<float>(Use::partial, together * image);
  for (std::int64_t n = 0; n < x[0]; n += together) {
    const std::int64_t images = std::min(together, x[0] - n);
    gather_pixels(args, n, images, chosen);
    multiply(product_of(chosen, images * pixels, args, args.y.data<float>() + n * pixels * y[3]),
             context);
  }
}

}  // namespace

void Conv::do_forward(const api::ConvForward& args) {
  if (!owns(api::Op::conv_forward, args.x.dtype())) {
    context_.fall_back(api::Op::conv_forward, args.y).conv().forward(args);
    return;
  }
  const core::Shape &x = args.x.shape(), &w = args.w.shape(), &y = args.y.shape();
  const api::ConvGeometry& g = args.geometry;
  if (pointwise(w, g) && args.y.count() > 0) {
    if (!strided(g)) {
      multiply(product_of(args.x.data<float>(), x[0] * x[1] * x[2], args, args.y.data<float>()),
               context_);
      return;
    }
    if (w[3] >= kGatheredChannels) return run_strided(args, context_);
  }
  ConvWork& k = work_.start();
  k.x = args.x.data<float>();
  k.y = args.y.data<float>();
  k.n = x[0], k.h = x[1], k.w = x[2], k.c = x[3];
  k.out_h = y[1], k.out_w = y[2], k.out_c = y[3];
  k.lead_h = g.pad_top, k.lead_w = g.pad_left;
  k.tail_h = std::max<std::int64_t>(
      0, (y[1] - 1) * g.stride_h + (w[1] - 1) * g.dilation_h + 1 - g.pad_top - x[1]);
  k.tail_w = std::max<std::int64_t>(
      0, (y[2] - 1) * g.stride_w + (w[2] - 1) * g.dilation_w + 1 - g.pad_left - x[2]);
  k.in_step_h = g.stride_h, k.in_step_w = g.stride_w;
  k.out_step_h = k.out_step_w = 1;
  k.groups = g.groups;
  k.group_in = w[3];
  k.group_out = w[0] / g.groups;
  k.weights = args.w.data<float>();
  k.w_in = 1, k.w_tap = w[3], k.w_out = w[1] * w[2] * w[3], k.w_group = k.group_out * k.w_out;
  k.bias = args.bias.defined() ? args.bias.data<float>() : nullptr;
  k.relu = args.activation == api::Activation::relu;
  Phase& phase = k.add_phase();
  phase.first_row = phase.first_column = 0;
  phase.rows = y[1];
  phase.columns = y[2];
  for (std::int64_t r = 0; r < w[1]; ++r) {
    for (std::int64_t s = 0; s < w[2]; ++s) {
      phase.taps.push_back({r * g.dilation_h, s * g.dilation_w, r * w[2] + s});
    }
  }
  run_conv(k, context_);
}

namespace {

/// Along one axis: the output position that tap r of input position a + stride u reads is u +
/// offset, when (a + pad - r dilation) is a multiple of the stride.
struct AxisTap {
  std::int64_t r, offset;
};

void axis_taps(std::int64_t a, std::int64_t kernel, std::int64_t pad, std::int64_t stride,
               std::int64_t dilation, std::vector<AxisTap>& taps) {
  taps.clear();
  for (std::int64_t r = 0; r < kernel; ++r) {
    const std::int64_t position = a + pad - r * dilation;
    if (position % stride == 0) taps.push_back({r, position / stride});
  }
}

}  // namespace

void Conv::do_backward_data(const api::ConvBackwardData& args) {
  if (!owns(api::Op::conv_backward_data, args.dy.dtype())) {
    context_.fall_back(api::Op::conv_backward_data, args.dx).conv().backward_data(args);
    return;
  }
  const core::Shape &dy = args.dy.shape(), &w = args.w.shape(), &dx = args.dx.shape();
  const api::ConvGeometry& g = args.geometry;
  if (pointwise(w, g) && !strided(g) && args.dx.count() > 0) {
    multiply({dx[0] * dx[1] * dx[2],
              w[3],
              w[0],
              {args.dy.data<float>(), w[0], 1},
              {args.w.data<float>(), w[3], 1},
              args.dx.data<float>(),
              w[3]},
             context_);
    return;
  }
  ConvWork& k = work_.start();
  k.x = args.dy.data<float>();
  k.y = args.dx.data<float>();
  k.n = dy[0], k.h = dy[1], k.w = dy[2], k.c = dy[3];
  k.out_h = dx[1], k.out_w = dx[2], k.out_c = dx[3];
  k.in_step_h = k.in_step_w = 1;
  k.out_step_h = g.stride_h, k.out_step_w = g.stride_w;
  k.groups = g.groups;
  k.group_in = w[0] / g.groups;
  k.group_out = w[3];
  k.weights = args.w.data<float>();
  k.w_in = w[1] * w[2] * w[3], k.w_tap = w[3], k.w_out = 1, k.w_group = k.group_in * k.w_in;
  k.bias = nullptr;
  k.relu = false;

  std::int64_t low_h = 0, low_w = 0, high_h = k.h - 1, high_w = k.w - 1;  // reach into padded dy
  std::vector<AxisTap> rows, columns;
  for (std::int64_t a = 0; a < std::min(g.stride_h, dx[1]); ++a) {
    axis_taps(a, w[1], g.pad_top, g.stride_h, g.dilation_h, rows);
    for (std::int64_t b = 0; b < std::min(g.stride_w, dx[2]); ++b) {
      axis_taps(b, w[2], g.pad_left, g.stride_w, g.dilation_w, columns);
      Phase& phase = k.add_phase();
      phase.first_row = a;
      phase.first_column = b;
      phase.rows = (dx[1] - a + g.stride_h - 1) / g.stride_h;
      phase.columns = (dx[2] - b + g.stride_w - 1) / g.stride_w;
      for (const AxisTap& r : rows) {
        for (const AxisTap& s : columns) {
          phase.taps.push_back({r.offset, s.offset, r.r * w[2] + s.r});
          low_h = std::min(low_h, r.offset);
          low_w = std::min(low_w, s.offset);
          high_h = std::max(high_h, phase.rows - 1 + r.offset);
          high_w = std::max(high_w, phase.columns - 1 + s.offset);
        }
      }
    }
  }
  k.lead_h = -low_h, k.lead_w = -low_w;
  k.tail_h = high_h - (k.h - 1), k.tail_w = high_w - (k.w - 1);
  for (std::size_t i = 0; i < k.phase_count; ++i) {
    for (Tap& tap : k.phases[i].taps) {
      tap.row += k.lead_h;
      tap.column += k.lead_w;
    }
  }
  run_conv(k, context_);
}

}  // namespace isaribi::simd
