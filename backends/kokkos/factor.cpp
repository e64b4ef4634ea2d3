// SPDX-License-Identifier: MIT
// The statistics of K-FAC. Every sum is made by one work item in a fixed order.
#include "backends/kokkos/fisher.hpp"
#include "backends/kokkos/loops.hpp"
#include "backends/kokkos/ops.hpp"

namespace isaribi::kokkos {
namespace {

using Range = Kokkos::RangePolicy<Space, Kokkos::IndexType<Index>>;

/// Where the elements of a patch lie.
template <typename T>
struct Patches {
  const T* x;
  Index n, h, w, channels, per, kw, p, q, length;
  bool bias;
  api::ConvGeometry g;

  template <typename Args>
  explicit Patches(const Args& a)
      : x(a.x.template data<T>()),
        n(a.x.shape()[0]),
        h(a.x.shape()[1]),
        w(a.x.shape()[2]),
        channels(a.x.shape()[3]),
        per(channels / a.geometry.groups),
        kw(a.kw),
        p(a.geometry.out_h(h, a.kh)),
        q(a.geometry.out_w(w, a.kw)),
        length(a.kh * a.kw * per + (a.bias ? 1 : 0)),
        bias(a.bias),
        g(a.geometry) {}

  /// Element i of the patch of `group` at output (row, column) of sample `sample`.
  KOKKOS_INLINE_FUNCTION T operator()(Index group, Index sample, Index row, Index column,
                                      Index i) const {
    if (bias && i == length - 1) return T(1);
    const Index tap = i / per, y = row * g.stride_h - g.pad_top + tap / kw * g.dilation_h;
    const Index z = column * g.stride_w - g.pad_left + tap % kw * g.dilation_w;
    if (y < 0 || y >= h || z < 0 || z >= w) return T(0);
    return x[((sample * h + y) * w + z) * channels + group * per + i % per];
  }
};

template <typename T, typename A>
void run_patch_covariance(const Queue& queue, const api::PatchCovariance& args) {
  const Patches<T> patches(args);
  A* a = args.a.data<A>();
  const Index length = patches.length, samples = patches.n;
  const double scale = args.scale;
  const bool accumulate = args.accumulate;
  Kokkos::parallel_for(
      "patch_covariance", Range(queue.space, 0, args.geometry.groups * length * length),
      KOKKOS_LAMBDA(Index item) {
        const Index j = item % length, i = item / length % length, group = item / length / length;
        if (j > i) return;
        double sum = 0;
        for (Index first = 0; first < samples; first += api::kSampleBlock) {
          T part = 0;
          for (Index n = first; n < Kokkos::min(first + api::kSampleBlock, samples); ++n) {
            for (Index row = 0; row < patches.p; ++row) {
              for (Index column = 0; column < patches.q; ++column)
                part += patches(group, n, row, column, i) * patches(group, n, row, column, j);
            }
          }
          sum += static_cast<double>(part);
        }
        A& lower = a[item];
        const double old = accumulate ? static_cast<double>(lower) : 0.0;
        lower = static_cast<A>(old + scale * sum);
        a[(group * length + j) * length + i] = lower;
      });
}

template <typename T>
void run_patch_mean(const Queue& queue, const api::PatchMean& args) {
  const Patches<T> patches(args);
  T* out = args.out.data<T>();
  const Index length = patches.length, groups = args.geometry.groups;
  const double scale = args.scale;
  for_rows(
      queue, "patch_mean", patches.n * groups, length,
      KOKKOS_LAMBDA(Index row, Index begin, Index end) {
        for (Index i = begin; i < end; ++i) {
          double sum = 0;
          for (Index p = 0; p < patches.p; ++p) {
            for (Index q = 0; q < patches.q; ++q)
              sum += static_cast<double>(patches(row % groups, row / groups, p, q, i));
          }
          out[row * length + i] = static_cast<T>(scale * sum);
        }
      });
}

template <typename T>
void run_norm_fisher(Queue& queue, const api::NormFisher& args) {
  const Index samples = args.x.shape()[0], channels = args.x.shape().back();
  if (channels == 0) return;
  const Index positions = samples == 0 ? 0 : args.x.count() / (samples * channels);
  const bool relu = args.activation == api::Activation::relu;
  const T *x = args.x.data<T>(), *dy = args.dy.data<T>(), *y = relu ? args.y.data<T>() : nullptr;
  const T *mean = args.mean.data<T>(), *inv_std = args.inv_std.data<T>();
  double* sums = args.sums.data<double>();
  const double scale = args.scale;
  const bool accumulate = args.accumulate;
  const Workspace::Frame frame(queue.workspace);
  double* u = queue.workspace.take<double>(2 * samples * channels);
  double* v = u + samples * channels;
  for_rows(
      queue, "norm_fisher", samples, channels, KOKKOS_LAMBDA(Index n, Index begin, Index end) {
        for (Index c = begin; c < end; ++c) u[n * channels + c] = v[n * channels + c] = 0;
        for (Index t = 0; t < positions; ++t) {
          const Index row = (n * positions + t) * channels;
          for (Index c = begin; c < end; ++c) {
            const T gradient = keep_if(y == nullptr || y[row + c] > T(0), dy[row + c]);
            u[n * channels + c] +=
                static_cast<double>(gradient * ((x[row + c] - mean[c]) * inv_std[c]));
            v[n * channels + c] += static_cast<double>(gradient);
          }
        }
      });
  Kokkos::parallel_for(
      "norm_fisher", Range(queue.space, 0, channels), KOKKOS_LAMBDA(Index c) {
        double moments[3] = {};
        for (Index n = 0; n < samples; ++n) {
          const double a = u[n * channels + c], b = v[n * channels + c];
          moments[0] += a * a;
          moments[1] += a * b;
          moments[2] += b * b;
        }
        for (int m = 0; m < 3; ++m) {
          double& sum = sums[m * channels + c];
          sum = scale * moments[m] + (accumulate ? sum : 0.0);
        }
      });
}

class Factor final : public api::FactorOps {
 public:
  explicit Factor(Queue& queue) : queue_(queue) {}

 private:
  void do_patch_covariance(const api::PatchCovariance& args) override {
    with_float(args.x.dtype(), [&](auto t) {
      with_float(args.a.dtype(),
                 [&](auto a) { run_patch_covariance<decltype(t), decltype(a)>(queue_, args); });
    });
  }
  void do_patch_mean(const api::PatchMean& args) override {
    with_float(args.x.dtype(), [&](auto t) { run_patch_mean<decltype(t)>(queue_, args); });
  }
  void do_norm_fisher(const api::NormFisher& args) override {
    with_float(args.x.dtype(), [&](auto t) { run_norm_fisher<decltype(t)>(queue_, args); });
  }
  void do_fisher_vectors(const api::FisherVectors& args) override {
    with_float(args.z.dtype(), [&](auto t) { kokkos::fisher_vectors<decltype(t)>(queue_, args); });
  }

  Queue& queue_;
};

}  // namespace

std::unique_ptr<api::FactorOps> make_factor(Queue& queue) {
  return std::make_unique<Factor>(queue);
}

}  // namespace isaribi::kokkos
