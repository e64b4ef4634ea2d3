// SPDX-License-Identifier: MIT
// Batch normalisation; the sums are f64 in an order independent of the number of threads
// (reduce_rows).
#include "backends/kokkos/loops.hpp"
#include "backends/kokkos/ops.hpp"

namespace isaribi::kokkos {
namespace {

Index channels_of(const core::Tensor& x) {
  return x.shape().back();
}
Index rows_of(const core::Tensor& x) {
  return channels_of(x) == 0 ? 0 : x.count() / channels_of(x);
}

template <typename T>
void run_statistics(Queue& queue, const api::BatchNormStatistics& args) {
  const T* x = args.x.data<T>();
  const Index channels = channels_of(args.x);
  reduce_rows<2>(
      queue, "batch_norm_statistics", rows_of(args.x), channels, args.sums.data<double>(),
      KOKKOS_LAMBDA(Index row, Index c, double& a, double& b) {
        const double v = static_cast<double>(x[row * channels + c]);
        a = v;
        b = v * v;
      });
}

template <typename T>
void run_normalize(const Queue& queue, const api::BatchNormNormalize& args) {
  const T *x = args.x.data<T>(), *mean = args.mean.data<T>(), *inv_std = args.inv_std.data<T>();
  const T *gamma = args.gamma.data<T>(), *beta = args.beta.data<T>();
  T* y = args.y.data<T>();
  const Index channels = channels_of(args.x);
  const bool relu = args.activation == api::Activation::relu;
  for_rows(
      queue, "batch_norm_normalize", rows_of(args.x), channels,
      KOKKOS_LAMBDA(Index row, Index begin, Index end) {
        const T* in = x + row * channels;
        T* out = y + row * channels;
        if (relu) {
#pragma omp simd
          for (Index c = begin; c < end; ++c) {
            const T v = (in[c] - mean[c]) * inv_std[c] * gamma[c] + beta[c];
            out[c] = v < T(0) ? T(0) : v;
          }
        } else {
#pragma omp simd
          for (Index c = begin; c < end; ++c)
            out[c] = (in[c] - mean[c]) * inv_std[c] * gamma[c] + beta[c];
        }
      });
}

template <typename T>
void run_backward_reduce(Queue& queue, const api::BatchNormBackwardReduce& args) {
  const T *x = args.x.data<T>(), *dy = args.dy.data<T>(), *y = data_or_null<T>(args.y);
  const T *mean = args.mean.data<T>(), *inv_std = args.inv_std.data<T>();
  const Index channels = channels_of(args.x), rows = rows_of(args.x);
  double* sums = args.sums.data<double>();
  const bool relu = args.activation == api::Activation::relu;
  if (relu) {
    reduce_rows<2>(
        queue, "batch_norm_backward_reduce", rows, channels, sums,
        KOKKOS_LAMBDA(Index row, Index c, double& a, double& b) {
          const Index i = row * channels + c;
          const T grad = keep_if(y[i] > T(0), dy[i]);
          a = static_cast<double>(grad);
          b = static_cast<double>(grad * ((x[i] - mean[c]) * inv_std[c]));
        });
  } else {
    reduce_rows<2>(
        queue, "batch_norm_backward_reduce", rows, channels, sums,
        KOKKOS_LAMBDA(Index row, Index c, double& a, double& b) {
          const Index i = row * channels + c;
          const T grad = dy[i];
          a = static_cast<double>(grad);
          b = static_cast<double>(grad * ((x[i] - mean[c]) * inv_std[c]));
        });
  }
}

template <typename T>
void run_backward_apply(Queue& queue, const api::BatchNormBackwardApply& args) {
  const Workspace::Frame frame(queue.workspace);
  const T *x = args.x.data<T>(), *dy = args.dy.data<T>(), *y = data_or_null<T>(args.y);
  const T *mean = args.mean.data<T>(), *inv_std = args.inv_std.data<T>(),
          *gamma = args.gamma.data<T>();
  const double* sums = args.sums.data<double>();
  T* dx = args.dx.data<T>();
  const Index channels = channels_of(args.x), rows = rows_of(args.x);
  const double elements = args.elements;
  const bool relu = args.activation == api::Activation::relu;
  // dx = factor dy' - (constant + slope (x - mean)), the per-channel parts once.
  T* factor = queue.workspace.take<T>(3 * channels);
  T *constant = factor + channels, *slope = constant + channels;
  for_elements(
      queue, "batch_norm_backward_apply", channels, KOKKOS_LAMBDA(Index begin, Index end) {
        for (Index c = begin; c < end; ++c) {
          const double scale = static_cast<double>(gamma[c]) * static_cast<double>(inv_std[c]);
          factor[c] = static_cast<T>(scale);
          constant[c] = static_cast<T>(scale * sums[c] / elements);
          slope[c] = static_cast<T>(scale * sums[channels + c] / elements *
                                    static_cast<double>(inv_std[c]));
        }
      });
  for_rows(
      queue, "batch_norm_backward_apply", rows, channels,
      KOKKOS_LAMBDA(Index row, Index begin, Index end) {
        const Index first = row * channels;
        if (relu) {
#pragma omp simd
          for (Index c = begin; c < end; ++c) {
            const T grad = keep_if(y[first + c] > T(0), dy[first + c]);
            dx[first + c] = factor[c] * grad - (constant[c] + slope[c] * (x[first + c] - mean[c]));
          }
        } else {
#pragma omp simd
          for (Index c = begin; c < end; ++c) {
            dx[first + c] =
                factor[c] * dy[first + c] - (constant[c] + slope[c] * (x[first + c] - mean[c]));
          }
        }
      });
}

template <typename T>
void run_fold(const Queue& queue, const api::BatchNormFold& args) {
  T *w = args.w.data<T>(), *bias = args.bias.data<T>();
  const T *mean = args.mean.data<T>(), *inv_std = args.inv_std.data<T>();
  const T *gamma = args.gamma.data<T>(), *beta = args.beta.data<T>();
  const Index outputs = args.bias.count(), inputs = outputs == 0 ? 0 : args.w.count() / outputs;
  for_rows(
      queue, "batch_norm_fold", outputs, inputs, KOKKOS_LAMBDA(Index o, Index begin, Index end) {
        const T scale = gamma[o] * inv_std[o];
        for (Index i = begin; i < end; ++i) w[o * inputs + i] *= scale;
        if (begin == 0) bias[o] = (bias[o] - mean[o]) * scale + beta[o];
      });
}

class Norm final : public api::NormOps {
 public:
  explicit Norm(Queue& queue) : queue_(queue) {}

 private:
  void do_statistics(const api::BatchNormStatistics& args) override {
    with_float(args.x.dtype(), [&](auto t) { run_statistics<decltype(t)>(queue_, args); });
  }
  void do_normalize(const api::BatchNormNormalize& args) override {
    with_float(args.x.dtype(), [&](auto t) { run_normalize<decltype(t)>(queue_, args); });
  }
  void do_backward_reduce(const api::BatchNormBackwardReduce& args) override {
    with_float(args.x.dtype(), [&](auto t) { run_backward_reduce<decltype(t)>(queue_, args); });
  }
  void do_backward_apply(const api::BatchNormBackwardApply& args) override {
    with_float(args.x.dtype(), [&](auto t) { run_backward_apply<decltype(t)>(queue_, args); });
  }
  void do_fold(const api::BatchNormFold& args) override {
    with_float(args.w.dtype(), [&](auto t) { run_fold<decltype(t)>(queue_, args); });
  }

  Queue& queue_;
};

}  // namespace

std::unique_ptr<api::NormOps> make_norm(Queue& queue) {
  return std::make_unique<Norm>(queue);
}

}  // namespace isaribi::kokkos
