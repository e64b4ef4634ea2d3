// SPDX-License-Identifier: MIT
// The statistics of K-FAC. Every sum is made by one work item in a fixed order.
#include "backends/kokkos/fisher.hpp"
#include "backends/kokkos/loops.hpp"
#include "backends/kokkos/ops.hpp"
#include "backends/kokkos/patches.hpp"

namespace isaribi::kokkos {
namespace {

using Range = Kokkos::RangePolicy<Space, Kokkos::IndexType<Index>>;

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
      using T = decltype(t);
      const auto run = [&](auto* a) {
        kokkos::patch_covariance(queue_, PatchExtents(args), args.x.data<T>(), args.scale, a,
                                 args.a.shape().rank() == 2, args.accumulate);
      };
      args.a.dtype() == core::DType::f64 ? run(args.a.data<double>()) : run(args.a.data<T>());
    });
  }
  void do_patch_mean(const api::PatchMean& args) override {
    with_float(args.x.dtype(), [&](auto t) {
      using T = decltype(t);
      patch_sums(queue_, PatchExtents(args), args.x.data<T>(), args.scale, args.out.data<T>());
    });
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
