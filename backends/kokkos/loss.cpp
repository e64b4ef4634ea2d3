// SPDX-License-Identifier: MIT
// Losses: one sample per work item, arithmetic in f64.
#include "backends/kokkos/loops.hpp"
#include "backends/kokkos/ops.hpp"

namespace isaribi::kokkos {
namespace {

/// body(n) for each sample.
template <typename Body>
void for_samples(const Queue& queue, const char* label, Index samples, Body body) {
  Kokkos::parallel_for(
      label, Kokkos::RangePolicy<Space, Kokkos::IndexType<Index>>(queue.space, 0, samples), body);
}

template <typename T>
void run_softmax_cross_entropy(const Queue& queue, const api::Loss& args) {
  const T *z = args.z.data<T>(), *targets = args.targets.data<T>();
  double* loss = args.loss.data<double>();
  T* dz = data_or_null<T>(args.dz);
  const Index classes = args.z.shape()[1];
  const double scale = args.scale;
  for_samples(
      queue, "softmax_cross_entropy", args.z.shape()[0], KOKKOS_LAMBDA(Index n) {
        const T *row = z + n * classes, *target = targets + n * classes;
        double top = -Kokkos::Experimental::infinity_v<double>, total = 0, weight = 0, dot = 0;
        for (Index c = 0; c < classes; ++c) top = Kokkos::fmax(top, static_cast<double>(row[c]));
        for (Index c = 0; c < classes; ++c) {
          total += Kokkos::exp(static_cast<double>(row[c]) - top);
          weight += static_cast<double>(target[c]);
        }
        const double log_total = Kokkos::log(total);
        for (Index c = 0; c < classes; ++c) {
          const double t = static_cast<double>(target[c]),
                       log_p = static_cast<double>(row[c]) - top - log_total;
          if (t != 0) dot += t * log_p;  // 0 log 0 = 0; a NaN target stays NaN
          if (dz != nullptr)
            dz[n * classes + c] = static_cast<T>(scale * (Kokkos::exp(log_p) * weight - t));
        }
        loss[n] = -dot;
      });
}

template <typename T>
void run_mean_squared_error(const Queue& queue, const api::Loss& args) {
  const T *z = args.z.data<T>(), *targets = args.targets.data<T>();
  double* loss = args.loss.data<double>();
  T* dz = data_or_null<T>(args.dz);
  const Index classes = args.z.shape()[1];
  const double scale = args.scale;
  for_samples(
      queue, "mean_squared_error", args.z.shape()[0], KOKKOS_LAMBDA(Index n) {
        double sum = 0;
        for (Index i = n * classes; i < (n + 1) * classes; ++i) {
          const double d = static_cast<double>(z[i]) - static_cast<double>(targets[i]);
          sum += d * d;
          if (dz != nullptr) dz[i] = static_cast<T>(scale * d);
        }
        loss[n] = 0.5 * sum;
      });
}

template <typename T>
void run_bernoulli_cross_entropy(const Queue& queue, const api::Loss& args) {
  const T *z = args.z.data<T>(), *targets = args.targets.data<T>();
  double* loss = args.loss.data<double>();
  T* dz = data_or_null<T>(args.dz);
  const Index classes = args.z.shape()[1];
  const double scale = args.scale;
  for_samples(
      queue, "bernoulli_cross_entropy", args.z.shape()[0], KOKKOS_LAMBDA(Index n) {
        double sum = 0;
        for (Index i = n * classes; i < (n + 1) * classes; ++i) {
          const double v = static_cast<double>(z[i]), t = static_cast<double>(targets[i]);
          const double small = Kokkos::exp(-Kokkos::abs(v));  // <= 1: nothing overflows
          sum += Kokkos::fmax(v, 0.0) + Kokkos::log1p(small) - t * v;
          if (dz != nullptr)
            dz[i] = static_cast<T>(scale * ((v >= 0 ? 1.0 : small) / (1.0 + small) - t));
        }
        loss[n] = sum;
      });
}

template <typename T>
void run_one_hot(const Queue& queue, const api::OneHot& args) {
  const std::int32_t* labels = args.labels.data<std::int32_t>();
  T* targets = args.targets.data<T>();
  const Index classes = args.targets.shape()[1];
  const double smoothing = args.smoothing;
  for_rows(
      queue, "one_hot", args.targets.shape()[0], classes,
      KOKKOS_LAMBDA(Index n, Index begin, Index end) {
        const Index label = labels[n];
        const bool known = label >= 0 && label < classes;
        const double rest = smoothing / static_cast<double>(classes);
        for (Index c = begin; c < end; ++c) {
          const double t = (c == label ? 1.0 - smoothing : 0.0) + rest;
          targets[n * classes + c] =
              known ? static_cast<T>(t) : Kokkos::Experimental::quiet_NaN_v<T>;
        }
      });
}

class Loss final : public api::LossOps {
 public:
  explicit Loss(Queue& queue) : queue_(queue) {}

 private:
  void do_softmax_cross_entropy(const api::Loss& args) override {
    with_float(args.z.dtype(),
               [&](auto t) { run_softmax_cross_entropy<decltype(t)>(queue_, args); });
  }
  void do_mean_squared_error(const api::Loss& args) override {
    with_float(args.z.dtype(), [&](auto t) { run_mean_squared_error<decltype(t)>(queue_, args); });
  }
  void do_bernoulli_cross_entropy(const api::Loss& args) override {
    with_float(args.z.dtype(),
               [&](auto t) { run_bernoulli_cross_entropy<decltype(t)>(queue_, args); });
  }
  void do_one_hot(const api::OneHot& args) override {
    with_float(args.targets.dtype(), [&](auto t) { run_one_hot<decltype(t)>(queue_, args); });
  }

  Queue& queue_;
};

}  // namespace

std::unique_ptr<api::LossOps> make_loss(Queue& queue) {
  return std::make_unique<Loss>(queue);
}

}  // namespace isaribi::kokkos
