// SPDX-License-Identifier: MIT
// Vectors whose second moment is the Hessian of a loss: one sample per work item, arithmetic in
// f64, the random numbers of core/rng.hpp.
#include "backends/kokkos/fisher.hpp"

#include "backends/kokkos/loops.hpp"

namespace isaribi::kokkos {
namespace {

using api::FisherMode;

/// The random numbers of one sample; consecutive words come from one block.
class Draws {
 public:
  KOKKOS_INLINE_FUNCTION Draws(const core::Philox& key, std::uint64_t coordinate)
      : key_(key), coordinate_(coordinate) {}
  KOKKOS_INLINE_FUNCTION std::uint32_t word(Index i) {
    if (i / 4 != number_) {
      number_ = i / 4;
      block_ = key_.block(coordinate_, static_cast<std::uint64_t>(number_));
    }
    return block_.w[i % 4];
  }
  KOKKOS_INLINE_FUNCTION double uniform(Index i) { return static_cast<double>(word(i)) * 0x1p-32; }
  KOKKOS_INLINE_FUNCTION double sign(Index i) { return word(i / 32) >> (i % 32) & 1 ? -1.0 : 1.0; }
  KOKKOS_INLINE_FUNCTION double normal(Index i) {
    const Index even = i / 2 * 2;
    const double u1 = (static_cast<double>(word(even)) + 1.0) * 0x1p-32;
    const double r = Kokkos::sqrt(-2.0 * Kokkos::log(u1));
    const double angle = 2.0 * Kokkos::numbers::pi * uniform(even + 1);
    return i % 2 == 0 ? r * Kokkos::cos(angle) : r * Kokkos::sin(angle);
  }

 private:
  const core::Philox& key_;
  std::uint64_t coordinate_;
  Index number_ = -1;
  core::Words4 block_{};
};

/// What one sample is computed from.
template <typename T>
struct Row {
  const T* z;
  T* dz;
  Index classes, column;
  double scale;
  FisherMode mode;

  /// Factor of column c: 1 for one column, +-1 for the sum of all with random signs.
  KOKKOS_INLINE_FUNCTION double factor(Index c, Draws& draws) const {
    if (mode == FisherMode::signs) return draws.sign(c);
    return c == column ? 1.0 : 0.0;
  }

  KOKKOS_INLINE_FUNCTION void softmax(Draws& draws) const {
    double top = -Kokkos::Experimental::infinity_v<double>, total = 0, mixed = 0;
    for (Index c = 0; c < classes; ++c) top = Kokkos::fmax(top, static_cast<double>(z[c]));
    const auto weight = [&](Index c) { return Kokkos::exp(static_cast<double>(z[c]) - top); };
    for (Index c = 0; c < classes; ++c) total += weight(c);
    if (mode == FisherMode::sample) {
      const double target = draws.uniform(0) * total;
      Index label = 0;
      for (double sum = weight(0); sum <= target && label + 1 < classes;) sum += weight(++label);
      for (Index c = 0; c < classes; ++c)
        dz[c] = static_cast<T>(scale * (weight(c) / total - (c == label ? 1.0 : 0.0)));
      return;
    }
    const Index first = mode == FisherMode::column ? column : 0;
    const Index last = mode == FisherMode::column ? column + 1 : classes;
    for (Index c = first; c < last; ++c)
      mixed += factor(c, draws) * Kokkos::sqrt(weight(c) / total);
    for (Index c = 0; c < classes; ++c) {
      const double p = weight(c) / total;
      dz[c] = static_cast<T>(scale * (factor(c, draws) * Kokkos::sqrt(p) - mixed * p));
    }
  }

  KOKKOS_INLINE_FUNCTION void squares(Draws& draws) const {
    for (Index c = 0; c < classes; ++c) {
      const double v = mode == FisherMode::sample ? draws.normal(c) : factor(c, draws);
      dz[c] = static_cast<T>(scale * v);
    }
  }

  KOKKOS_INLINE_FUNCTION void bernoulli(Draws& draws) const {
    for (Index c = 0; c < classes; ++c) {
      const double x = static_cast<double>(z[c]);
      const double small = Kokkos::exp(-Kokkos::abs(x));  // <= 1: nothing overflows
      const double likely = 1.0 / (1.0 + small), unlikely = small / (1.0 + small);
      const double p = x >= 0 ? likely : unlikely, rest = x >= 0 ? unlikely : likely;
      const double v = mode == FisherMode::sample ? p - (draws.uniform(c) < p ? 1.0 : 0.0)
                                                  : factor(c, draws) * Kokkos::sqrt(p * rest);
      dz[c] = static_cast<T>(scale * v);
    }
  }
};

}  // namespace

template <typename T>
void fisher_vectors(const Queue& queue, const api::FisherVectors& args) {
  const Index classes = args.z.shape()[1];
  const T* z = args.z.data<T>();
  T* dz = args.dz.data<T>();
  const bool random = args.mode != FisherMode::column;
  const std::int32_t* ids = random ? args.ids.data<std::int32_t>() : nullptr;
  const core::Philox key = args.key;
  const auto index = static_cast<std::uint64_t>(args.index);
  const Row<T> all{z, dz, classes, args.index, args.scale, args.mode};
  const api::LossKind loss = args.loss;
  for_rows(
      queue, "fisher_vectors", args.z.shape()[0], 1, KOKKOS_LAMBDA(Index n, Index, Index) {
        Row<T> row = all;
        row.z += n * classes;
        row.dz += n * classes;
        const std::uint32_t id = random ? static_cast<std::uint32_t>(ids[n]) : 0;
        Draws draws(key, index << 32 | id);
        if (classes == 0) return;
        if (loss == api::LossKind::softmax_cross_entropy) row.softmax(draws);
        if (loss == api::LossKind::mean_squared_error) row.squares(draws);
        if (loss == api::LossKind::bernoulli_cross_entropy) row.bernoulli(draws);
      });
}

template void fisher_vectors<float>(const Queue&, const api::FisherVectors&);
template void fisher_vectors<double>(const Queue&, const api::FisherVectors&);

}  // namespace isaribi::kokkos
