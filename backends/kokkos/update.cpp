// SPDX-License-Identifier: MIT
// Optimizer updates in one pass, arithmetic in f64, each stored value rounded once.
#include "backends/kokkos/loops.hpp"
#include "backends/kokkos/ops.hpp"

namespace isaribi::kokkos {
namespace {

template <typename T, typename G>
void run_sgd(const Queue& queue, const api::SgdUpdate& args) {
  T *w = args.w.data<T>(), *velocity = data_or_null<T>(args.velocity);
  const G* gradient = args.gradient.data<G>();
  const double lr = args.lr, momentum = args.momentum, l2 = args.l2, scale = args.scale,
               keep = 1.0 - args.lr * args.decay;
  const bool nesterov = args.nesterov;
  for_elements(
      queue, "sgd_update", args.w.count(), KOKKOS_LAMBDA(Index begin, Index end) {
        const auto update = [&](Index i, auto with_velocity) {
          const double value = static_cast<double>(w[i]);
          double step = scale * static_cast<double>(gradient[i]) + l2 * value;
          if constexpr (with_velocity) {
            const double v = momentum * static_cast<double>(velocity[i]) + step;
            velocity[i] = static_cast<T>(v);
            step = nesterov ? step + momentum * v : v;
          }
          w[i] = static_cast<T>(keep * value - lr * step);
        };
        if (velocity != nullptr) {
#pragma omp simd
          for (Index i = begin; i < end; ++i) update(i, std::true_type{});
        } else {
#pragma omp simd
          for (Index i = begin; i < end; ++i) update(i, std::false_type{});
        }
      });
}

template <typename T, typename G>
void run_adam(const Queue& queue, const api::AdamUpdate& args) {
  T *w = args.w.data<T>(), *first = args.m.data<T>(), *second = args.v.data<T>();
  const G* gradient = args.gradient.data<G>();
  const double lr = args.lr, b1 = args.beta1, b2 = args.beta2, epsilon = args.epsilon, l2 = args.l2;
  const double keep = 1.0 - args.lr * args.decay, t = static_cast<double>(args.step);
  const double unbias1 = 1.0 / (1.0 - std::pow(b1, t)), unbias2 = 1.0 / (1.0 - std::pow(b2, t));
  for_elements(
      queue, "adam_update", args.w.count(), KOKKOS_LAMBDA(Index begin, Index end) {
        for (Index i = begin; i < end; ++i) {
          const double value = static_cast<double>(w[i]),
                       g = static_cast<double>(gradient[i]) + l2 * value;
          const double m = b1 * static_cast<double>(first[i]) + (1.0 - b1) * g;
          const double v = b2 * static_cast<double>(second[i]) + (1.0 - b2) * g * g;
          first[i] = static_cast<T>(m);
          second[i] = static_cast<T>(v);
          w[i] = static_cast<T>(keep * value -
                                lr * (m * unbias1) / (Kokkos::sqrt(v * unbias2) + epsilon));
        }
      });
}

/// f(weight type, gradient type); the gradient has the type of the weights or f64.
template <typename F>
void with_types(core::DType weights, core::DType gradient, F&& f) {
  if (weights == core::DType::f64) {
    f(double{}, double{});
  } else {
    with_float(gradient, [&](auto g) { f(float{}, g); });
  }
}

class Update final : public api::UpdateOps {
 public:
  explicit Update(Queue& queue) : queue_(queue) {}

 private:
  void do_sgd(const api::SgdUpdate& args) override {
    with_types(args.w.dtype(), args.gradient.dtype(),
               [&](auto w, auto g) { run_sgd<decltype(w), decltype(g)>(queue_, args); });
  }
  void do_adam(const api::AdamUpdate& args) override {
    with_types(args.w.dtype(), args.gradient.dtype(),
               [&](auto w, auto g) { run_adam<decltype(w), decltype(g)>(queue_, args); });
  }

  Queue& queue_;
};

}  // namespace

std::unique_ptr<api::UpdateOps> make_update(Queue& queue) {
  return std::make_unique<Update>(queue);
}

}  // namespace isaribi::kokkos
