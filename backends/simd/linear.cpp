// SPDX-License-Identifier: MIT
// A fully connected layer is a convolution whose pixels are the samples: the same panel and weight
// tiles, panels of outputs shared among threads. The weight gradient keeps a few tiles in L1 while
// it walks the blocks of kSampleBlock samples, so that f64 sums cost no memory traffic.
#include "backends/simd/linear.hpp"

#include <algorithm>
#include <cstring>

#include "backends/api/conv.hpp"
#include "backends/simd/norm.hpp"
#include "backends/simd/parallel.hpp"

namespace isaribi::simd {
namespace {

/// y[n, o] = act(sum_k x[n, k] w(o, k) + bias[o]), w(o, k) = w[o * w_out + k * w_in].
struct LinearPass {
  const float* x;
  const float* w;
  const float* bias;
  float* y;
  std::int64_t n, k, o, w_out, w_in;
  bool relu;
};

void pack(const LinearPass& p, std::int64_t first, int valid, int width, float* to) {
  for (std::int64_t k = 0; k < p.k; ++k, to += width) {
    const float* from = p.w + first * p.w_out + k * p.w_in;
    int o = 0;
    for (; o < valid; ++o) to[o] = from[o * p.w_out];
    for (; o < width; ++o) to[o] = 0.0f;
  }
}

/// Each item is a panel of outputs times a share of the samples.
void multiply(const LinearPass& p, Context& context) {
  if (p.n == 0 || p.o == 0) return;
  const Kernels& kernels = context.kernels();
  Scratch& scratch = context.ready();
  const int threads = omp_get_max_threads();
  const std::int64_t all = (p.o + kernels.lanes - 1) / kernels.lanes;
  const int vectors = static_cast<int>(std::min<std::int64_t>(2, all));
  const int width = vectors * kernels.lanes;
  const std::int64_t panels = (p.o + width - 1) / width;
  float* packed = scratch.get<float>(Use::weights, panels * width * std::max<std::int64_t>(1, p.k));
  float* bias = scratch.get<float>(Use::bias, panels * width);
  for (std::int64_t o = 0; o < panels * width; ++o) bias[o] = p.bias && o < p.o ? p.bias[o] : 0.0f;
  parallel_ranges(panels, p.o * p.k, 1, [&](Range r) {
    for (std::int64_t j = r.begin; j < r.end; ++j) {
      const int valid = static_cast<int>(std::min<std::int64_t>(width, p.o - j * width));
      pack(p, j * width, valid, (valid + kernels.lanes - 1) / kernels.lanes * kernels.lanes,
           packed + j * width * p.k);
    }
  });
  const std::int64_t tile = kernels.tile_rows[vectors];
  const std::int64_t rows_per_item =
      std::clamp<std::int64_t>((p.n + 4 * threads - 1) / (4 * threads), 1, 8 * tile);
  const std::int64_t strips = (p.n + rows_per_item - 1) / rows_per_item;
  const std::ptrdiff_t offset = 0;
  parallel_ranges(strips, p.n * p.o * p.k / 4, 1, [&](Range r) {
    const std::int64_t begin = r.begin * rows_per_item, end = std::min(p.n, r.end * rows_per_item);
    for (std::int64_t j = 0; j < panels; ++j) {
      ConvPanel a{};
      a.x = p.x + begin * p.k;
      a.x_pixel = p.k;
      a.offset = &offset;
      a.segments = 1;
      a.run = static_cast<int>(p.k);
      a.w = packed + j * width * p.k;
      a.y = p.y + begin * p.o + j * width;
      a.y_pixel = p.o;
      a.rows = 1;
      a.columns = end - begin;
      a.bias = p.bias ? bias + j * width : nullptr;
      a.channels = static_cast<int>(std::min<std::int64_t>(width, p.o - j * width));
      a.vectors = (a.channels + kernels.lanes - 1) / kernels.lanes;
      a.relu = p.relu;
      kernels.conv_panel(a);
    }
  });
}

/// Rows [o, o + run) x columns [i, i + channels) of dw, all samples.
template <typename T>
void weight_rectangle(const api::LinearBackwardWeights& args, const Kernels& kernels,
                      std::int64_t o, int run, std::int64_t i, int channels, float* partial,
                      double* sums, T* dw) {
  const std::int64_t n = args.x.shape()[0], in = args.x.shape()[1], out = args.dy.shape()[1];
  WeightTile t{};
  t.run = run;
  t.runs = 1;
  t.channels = channels;
  t.vectors = (channels + kernels.lanes - 1) / kernels.lanes;
  t.acc_step = t.vectors * kernels.lanes;
  t.acc = partial;
  t.images = t.rows = 1;
  t.x_pixel = out;
  t.dy_pixel = in;
  const std::int64_t elements = run * t.acc_step;
  std::fill(sums, sums + elements, 0.0);
  for (std::int64_t begin = 0; begin < n; begin += api::kSampleBlock) {
    std::memset(partial, 0, static_cast<std::size_t>(elements) * sizeof(float));
    t.columns = std::min(api::kSampleBlock, n - begin);
    t.x = args.dy.data<float>() + begin * out + o;  // the broadcast side is dy here
    t.dy = args.x.data<float>() + begin * in + i;
    kernels.weight_tile(t);
    for (std::int64_t e = 0; e < elements; ++e) sums[e] += static_cast<double>(partial[e]);
  }
  for (int r = 0; r < run; ++r) {
    T* to = dw + (o + r) * in + i;
    const double* from = sums + r * t.acc_step;
    for (int c = 0; c < channels; ++c) {
      to[c] = args.accumulate ? static_cast<T>(static_cast<double>(to[c]) + from[c])
                              : static_cast<T>(from[c]);
    }
  }
}

template <typename T>
void weight_gradient(const api::LinearBackwardWeights& args, Context& context) {
  const Kernels& kernels = context.kernels();
  Scratch& scratch = context.ready();
  const std::int64_t in = args.x.shape()[1], out = args.dy.shape()[1];
  const std::int64_t all = (in + kernels.lanes - 1) / kernels.lanes;
  const int vectors = static_cast<int>(std::min<std::int64_t>(2, all));
  const std::int64_t width = static_cast<std::int64_t>(vectors) * kernels.lanes;
  const std::int64_t panels = (in + width - 1) / width;
  const std::int64_t most = kernels.tile_rows[vectors];
  const std::int64_t strips = (out + most - 1) / most;
  T* dw = args.dw.data<T>();
  parallel_ranges(panels * strips, args.x.count() * out / 4, 1, [&](Range r) {
    const int thread = omp_get_thread_num();
    float* partial = scratch.get<float>(Use::partial, most * width, thread);
    double* sums = scratch.get<double>(Use::sums, most * width, thread);
    for (std::int64_t item = r.begin; item < r.end; ++item) {
      const std::int64_t panel = item / strips, strip = item % strips;
      const std::int64_t o = out * strip / strips, end = out * (strip + 1) / strips;
      const std::int64_t i = panel * width;
      weight_rectangle(args, kernels, o, static_cast<int>(end - o), i,
                       static_cast<int>(std::min(width, in - i)), partial, sums, dw);
    }
  });
}

}  // namespace

void Linear::do_forward(const api::LinearForward& args) {
  if (!owns(api::Op::linear_forward, args.x.dtype())) {
    context_.fall_back(api::Op::linear_forward, args.y).linear().forward(args);
    return;
  }
  const std::int64_t in = args.x.shape()[1];
  multiply(
      {args.x.data<float>(), args.w.data<float>(),
       args.bias.defined() ? args.bias.data<float>() : nullptr, args.y.data<float>(),
       args.x.shape()[0], in, args.y.shape()[1], in, 1, args.activation == api::Activation::relu},
      context_);
}

void Linear::do_backward_data(const api::LinearBackwardData& args) {
  if (!owns(api::Op::linear_backward_data, args.dy.dtype())) {
    context_.fall_back(api::Op::linear_backward_data, args.dx).linear().backward_data(args);
    return;
  }
  multiply(
      {args.dy.data<float>(), args.w.data<float>(), nullptr, args.dx.data<float>(),
       args.dy.shape()[0], args.dy.shape()[1], args.dx.shape()[1], 1, args.dx.shape()[1], false},
      context_);
}

void Linear::do_backward_weights(const api::LinearBackwardWeights& args) {
  if (!owns(api::Op::linear_backward_weights, args.x.dtype())) {
    context_.fall_back(api::Op::linear_backward_weights, args.x).linear().backward_weights(args);
    return;
  }
  if (args.dw.dtype() == core::DType::f64) {
    weight_gradient<double>(args, context_);
  } else {
    weight_gradient<float>(args, context_);
  }
  if (args.db.defined()) bias_gradient(context_, args.dy, args.db, args.accumulate);
}

}  // namespace isaribi::simd
