// SPDX-License-Identifier: MIT
// Batch normalisation: passes bound by memory, one read of each operand and one write. Channel
// parameters are repeated to whole vectors, so 6 channels fill the lanes as well as 64. Sums are
// f64 over chunks whose size depends on the shape only, added in the order of the chunks.
#include "backends/simd/norm.hpp"

#include <numeric>

#include "backends/simd/parallel.hpp"

namespace isaribi::simd {
namespace {

constexpr std::int64_t kChunkElements = 16384;

/// How [M, C] is cut: whole periods for the kernel, the rest element by element.
struct Layout {
  std::int64_t channels, total, period, periods, chunk, chunks;
};

Layout layout(const core::Tensor& x, int lanes) {
  Layout l{};
  l.channels = x.shape().back();
  l.total = x.count();
  if (l.channels == 0 || l.total == 0) return l;
  l.period = channel_period(l.channels, lanes);
  l.periods = l.total / l.period;
  l.chunk = std::max<std::int64_t>(1, kChunkElements / l.period);
  l.chunks = (l.periods + l.chunk - 1) / l.chunk;
  return l;
}

/// `from` repeated to one period.
void repeat(const Layout& l, const float* from, float* to) {
  for (std::int64_t i = 0; i < l.period; ++i) to[i] = from[i % l.channels];
}

/// Sums of a pass over all chunks: kernel(pass) fills sum0 and sum1 of one chunk, tail(i, s0, s1)
/// adds element i. out: [2, C] (or [C] when !pair).
template <class Kernel, class Tail>
void reduce(Context& context, const Layout& l, const ChannelPass& base, bool pair, double* out,
            const Kernel& kernel, const Tail& tail) {
  Scratch& scratch = context.ready();
  const std::int64_t c = l.channels, width = pair ? 2 * c : c;
  double* partial = scratch.get<double>(Use::sums, std::max<std::int64_t>(1, l.chunks) * width);
  parallel_ranges(l.chunks, l.total, 1, [&](Range r) {
    double* sums = scratch.get<double>(Use::partial, 2 * l.period, omp_get_thread_num());
    for (std::int64_t i = r.begin; i < r.end; ++i) {
      ChannelPass a = base;
      const std::int64_t start = i * l.chunk * l.period;
      a.x = base.x ? base.x + start : nullptr;
      a.y = base.y ? base.y + start : nullptr;
      a.dy = base.dy ? base.dy + start : nullptr;
      a.period = l.period;
      a.periods = std::min(l.chunk, l.periods - i * l.chunk);
      a.sum0 = sums;
      a.sum1 = sums + l.period;
      kernel(a);
      double* to = partial + i * width;
      for (std::int64_t j = 0; j < c; ++j) to[j] = sums[j];
      for (std::int64_t j = 0; pair && j < c; ++j) to[c + j] = a.sum1[j];
      for (std::int64_t k = c; k < l.period; k += c) {
        for (std::int64_t j = 0; j < c; ++j) to[j] += sums[k + j];
        for (std::int64_t j = 0; pair && j < c; ++j) to[c + j] += a.sum1[k + j];
      }
    }
  });
  std::fill(out, out + width, 0.0);
  for (std::int64_t i = 0; i < l.chunks; ++i) {
    for (std::int64_t j = 0; j < width; ++j) out[j] += partial[i * width + j];
  }
  for (std::int64_t i = l.periods * l.period; i < l.total; ++i) {
    double s0 = 0, s1 = 0;
    tail(i, s0, s1);
    out[i % c] += s0;
    if (pair) out[c + i % c] += s1;
  }
}

const float* optional(const core::Tensor& t) {
  return t.defined() ? t.data<float>() : nullptr;
}

}  // namespace

std::int64_t channel_period(std::int64_t channels, int lanes) {
  const std::int64_t unit = std::lcm(channels, static_cast<std::int64_t>(lanes));
  return (std::max<std::int64_t>(64, unit) + unit - 1) / unit * unit;
}

void bias_gradient(Context& context, const core::Tensor& dy, const core::Tensor& db,
                   bool accumulate) {
  const Layout l = layout(dy, context.kernels().lanes);
  const std::int64_t channels = db.count();
  double* sums = context.ready().get<double>(Use::result, std::max<std::int64_t>(1, channels));
  std::fill(sums, sums + channels, 0.0);
  if (l.total > 0) {
    ChannelPass a{};
    a.x = dy.data<float>();
    reduce(
        context, l, a, false, sums, [&](const ChannelPass& p) { context.kernels().column_sums(p); },
        [&](std::int64_t i, double& s0, double&) { s0 = static_cast<double>(a.x[i]); });
  }
  for (std::int64_t c = 0; c < channels; ++c) {
    if (db.dtype() == core::DType::f64) {
      double& out = db.data<double>()[c];
      out = accumulate ? out + sums[c] : sums[c];
    } else {
      float& out = db.data<float>()[c];
      out = static_cast<float>(accumulate ? static_cast<double>(out) + sums[c] : sums[c]);
    }
  }
}

void Norm::do_statistics(const api::BatchNormStatistics& args) {
  if (!owns(api::Op::batch_norm_statistics, args.x.dtype())) {
    context_.fall_back(api::Op::batch_norm_statistics, args.x).norm().statistics(args);
    return;
  }
  const Layout l = layout(args.x, context_.kernels().lanes);
  double* out = args.sums.data<double>();
  std::fill(out, out + args.sums.count(), 0.0);
  if (l.total == 0) return;
  ChannelPass a{};
  a.x = args.x.data<float>();
  reduce(
      context_, l, a, true, out, [&](const ChannelPass& p) { context_.kernels().bn_statistics(p); },
      [&](std::int64_t i, double& s0, double& s1) {
        s0 = static_cast<double>(a.x[i]);
        s1 = s0 * s0;
      });
}

void Norm::do_normalize(const api::BatchNormNormalize& args) {
  if (!owns(api::Op::batch_norm_normalize, args.x.dtype())) {
    context_.fall_back(api::Op::batch_norm_normalize, args.y).norm().normalize(args);
    return;
  }
  const Layout l = layout(args.x, context_.kernels().lanes);
  if (l.total == 0) return;
  float* scale = context_.ready().get<float>(Use::channels, 3 * l.period + l.channels);
  float *shift = scale + l.period, *mean = shift + l.period, *product = mean + l.period;
  for (std::int64_t c = 0; c < l.channels; ++c) {
    product[c] = args.gamma.data<float>()[c] * args.inv_std.data<float>()[c];
  }
  repeat(l, product, scale);
  repeat(l, args.beta.data<float>(), shift);
  repeat(l, args.mean.data<float>(), mean);
  const bool relu = args.activation == api::Activation::relu;
  const float* x = args.x.data<float>();
  float* y = args.y.data<float>();
  parallel_ranges(l.periods, l.total, 1, [&](Range r) {
    ChannelPass a{};
    a.x = x + r.begin * l.period;
    a.out = y + r.begin * l.period;
    a.period = l.period;
    a.periods = r.end - r.begin;
    a.mean = mean;
    a.scale = scale;
    a.shift = shift;
    a.relu = relu;
    context_.kernels().bn_normalize(a);
  });
  for (std::int64_t i = l.periods * l.period; i < l.total; ++i) {
    const std::int64_t c = i % l.channels;
    const float r = (x[i] - mean[c]) * scale[c] + shift[c];
    y[i] = relu && r < 0.0f ? 0.0f : r;
  }
}

void Norm::do_backward_reduce(const api::BatchNormBackwardReduce& args) {
  if (!owns(api::Op::batch_norm_backward_reduce, args.x.dtype())) {
    context_.fall_back(api::Op::batch_norm_backward_reduce, args.x).norm().backward_reduce(args);
    return;
  }
  const Layout l = layout(args.x, context_.kernels().lanes);
  double* out = args.sums.data<double>();
  std::fill(out, out + args.sums.count(), 0.0);
  if (l.total == 0) return;
  float* mean = context_.ready().get<float>(Use::channels, 2 * l.period);
  float* inv_std = mean + l.period;
  repeat(l, args.mean.data<float>(), mean);
  repeat(l, args.inv_std.data<float>(), inv_std);
  ChannelPass a{};
  a.x = args.x.data<float>();
  a.y = args.activation == api::Activation::relu ? optional(args.y) : nullptr;
  a.dy = args.dy.data<float>();
  a.mean = mean;
  a.inv_std = inv_std;
  reduce(
      context_, l, a, true, out,
      [&](const ChannelPass& p) { context_.kernels().bn_backward_reduce(p); },
      [&](std::int64_t i, double& s0, double& s1) {
        const std::int64_t c = i % l.channels;
        if (a.y && !(a.y[i] > 0.0f)) return;
        s0 = static_cast<double>(a.dy[i]);
        s1 = s0 * static_cast<double>((a.x[i] - mean[c]) * inv_std[c]);
      });
}

void Norm::do_backward_apply(const api::BatchNormBackwardApply& args) {
  if (!owns(api::Op::batch_norm_backward_apply, args.x.dtype())) {
    context_.fall_back(api::Op::batch_norm_backward_apply, args.dx).norm().backward_apply(args);
    return;
  }
  const Layout l = layout(args.x, context_.kernels().lanes);
  if (l.total == 0) return;
  // dx = a dy' + (b (x - mean) + c): a = gamma inv_std, b = -a inv_std sums[1] / M, c = -a
  // sums[0] / M.
  float* scale = context_.ready().get<float>(Use::channels, 4 * l.period + 3 * l.channels);
  float *slope = scale + l.period, *shift = slope + l.period, *mean = shift + l.period;
  float *a1 = mean + l.period, *b1 = a1 + l.channels, *c1 = b1 + l.channels;
  const double* sums = args.sums.data<double>();
  for (std::int64_t c = 0; c < l.channels; ++c) {
    const auto inv_std = static_cast<double>(args.inv_std.data<float>()[c]);
    const double factor = static_cast<double>(args.gamma.data<float>()[c]) * inv_std;
    a1[c] = static_cast<float>(factor);
    b1[c] = static_cast<float>(-factor * inv_std * sums[l.channels + c] / args.elements);
    c1[c] = static_cast<float>(-factor * sums[c] / args.elements);
  }
  repeat(l, a1, scale);
  repeat(l, b1, slope);
  repeat(l, c1, shift);
  repeat(l, args.mean.data<float>(), mean);
  const float *x = args.x.data<float>(), *dy = args.dy.data<float>();
  const float* y = args.activation == api::Activation::relu ? optional(args.y) : nullptr;
  float* dx = args.dx.data<float>();
  parallel_ranges(l.periods, l.total, 1, [&](Range r) {
    ChannelPass a{};
    const std::int64_t start = r.begin * l.period;
    a.x = x + start;
    a.y = y ? y + start : nullptr;
    a.dy = dy + start;
    a.out = dx + start;
    a.period = l.period;
    a.periods = r.end - r.begin;
    a.mean = mean;
    a.scale = scale;
    a.inv_std = slope;
    a.shift = shift;
    context_.kernels().bn_backward_apply(a);
  });
  for (std::int64_t i = l.periods * l.period; i < l.total; ++i) {
    const std::int64_t c = i % l.channels;
    const float g = y && !(y[i] > 0.0f) ? 0.0f : dy[i];
    dx[i] = scale[c] * g + (slope[c] * (x[i] - mean[c]) + shift[c]);
  }
}

void Norm::do_fold(const api::BatchNormFold& args) {
  context_.fall_back(api::Op::batch_norm_fold, args.w).norm().fold(args);
}

}  // namespace isaribi::simd
