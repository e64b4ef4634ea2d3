// SPDX-License-Identifier: MIT
// Random operations: core/rng.hpp inside the kernels, so every backend draws the same bits.
#include "backends/kokkos/loops.hpp"
#include "backends/kokkos/ops.hpp"

namespace isaribi::kokkos {
namespace {

template <typename T>
void run_dropout(const Queue& queue, const api::Dropout& args) {
  const T* x = args.x.data<T>();
  const std::int32_t* ids = args.ids.data<std::int32_t>();
  T* y = args.y.data<T>();
  const Index size = args.x.shape().count_per_sample(),
              groups = (size + 3) / 4;  // 4 draws per Philox block
  const core::Philox key = args.key;
  const double p = args.p, scale = 1.0 / (1.0 - p);
  for_rows(
      queue, "dropout", args.x.shape()[0], groups, KOKKOS_LAMBDA(Index n, Index begin, Index end) {
        const auto id = static_cast<std::uint64_t>(ids[n]);
        for (Index group = begin; group < end; ++group) {
          const core::Words4 words = key.block(id, static_cast<std::uint64_t>(group));
          const Index last = Kokkos::min<Index>(4, size - 4 * group);
          for (Index k = 0; k < last; ++k) {
            const Index i = n * size + 4 * group + k;
            const float u =
                static_cast<float>(words.w[k] >> 8) * 0x1p-24f;  // Philox::uniform of this element
            y[i] = static_cast<double>(u) >= p ? static_cast<T>(static_cast<double>(x[i]) * scale)
                                               : T(0);
          }
        }
      });
}

template <typename T>
void run_uniform(const Queue& queue, const api::RandomUniform& args) {
  T* x = args.x.data<T>();
  const core::Philox key = args.key;
  const std::uint64_t coordinate = args.coordinate;
  for_elements(
      queue, "random_uniform", args.x.count(), KOKKOS_LAMBDA(Index begin, Index end) {
        for (Index i = begin; i < end; ++i) {
          x[i] = static_cast<T>(key.uniform(coordinate, static_cast<std::uint64_t>(i)));
        }
      });
}

template <typename T>
void run_normal(const Queue& queue, const api::RandomNormal& args) {
  T* x = args.x.data<T>();
  const core::Philox key = args.key;
  const std::uint64_t coordinate = args.coordinate;
  const Index count = args.x.count();
  for_elements(
      queue, "random_normal", (count + 3) / 4, KOKKOS_LAMBDA(Index begin, Index end) {
        for (Index group = begin; group < end; ++group) {
          const core::Words4 words = key.block(coordinate, static_cast<std::uint64_t>(group));
          double values[4];
          for (int half = 0; half < 2; ++half) {
            const double u1 = (static_cast<double>(words.w[2 * half]) + 1.0) * 0x1p-32;
            const double u2 = static_cast<double>(words.w[2 * half + 1]) * 0x1p-32;
            const double radius = Kokkos::sqrt(-2.0 * Kokkos::log(u1)),
                         angle = 2.0 * Kokkos::numbers::pi * u2;
            values[2 * half] = radius * Kokkos::cos(angle);
            values[2 * half + 1] = radius * Kokkos::sin(angle);
          }
          for (Index i = 4 * group; i < Kokkos::min(4 * group + 4, count); ++i)
            x[i] = static_cast<T>(values[i - 4 * group]);
        }
      });
}

class Random final : public api::RandomOps {
 public:
  explicit Random(Queue& queue) : queue_(queue) {}

 private:
  void do_dropout(const api::Dropout& args) override {
    with_float(args.x.dtype(), [&](auto t) { run_dropout<decltype(t)>(queue_, args); });
  }
  void do_uniform(const api::RandomUniform& args) override {
    with_float(args.x.dtype(), [&](auto t) { run_uniform<decltype(t)>(queue_, args); });
  }
  void do_normal(const api::RandomNormal& args) override {
    with_float(args.x.dtype(), [&](auto t) { run_normal<decltype(t)>(queue_, args); });
  }

  Queue& queue_;
};

}  // namespace

std::unique_ptr<api::RandomOps> make_random(Queue& queue) {
  return std::make_unique<Random>(queue);
}

}  // namespace isaribi::kokkos
