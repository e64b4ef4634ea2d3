// SPDX-License-Identifier: MIT
// Cross-entropies of events that are all but certain, where the loss is as small as a number can be
// beside 1: what it is relative to itself.
#include "simd_support.hpp"

using namespace isaribi;
using namespace isaribi::testing;
using core::DType;
using core::Tensor;

TEST_CASE("Bernoulli cross-entropies and their gradients keep their relative accuracy") {
  constexpr int kRows = 321;  // logits from -80 to 0
  for_each_level([&](api::Backend& backend, const std::string& isa) {
    const Tensor z({kRows, 1}, DType::f32), t = Tensor::zeros({kRows, 1}, DType::f32),
                                            loss({kRows}, DType::f64), dz({kRows, 1}, DType::f32);
    for (int i = 0; i < kRows; ++i) z.data<float>()[i] = static_cast<float>(-0.25 * i);
    backend.loss().bernoulli_cross_entropy({.z = z, .targets = t, .loss = loss, .dz = dz});
    for (int i = 0; i < kRows; ++i) {
      const double e = std::exp(static_cast<double>(z.data<float>()[i]));
      INFO(isa << ", logit " << z.data<float>()[i]);
      CHECK(std::abs(loss.data<double>()[i] / std::log1p(e) - 1) < 1e-6);
      CHECK(std::abs(static_cast<double>(dz.data<float>()[i]) / (e / (1 + e)) - 1) < 1e-6);
    }
  });
}
