// SPDX-License-Identifier: MIT
// What K-FAC tells about a step is what it did.
#include <numeric>

#include "kfac_support.hpp"

using namespace isaribi;
using namespace isaribi::testing;

namespace {

std::vector<double> values_of(const core::Tensor& t) {
  std::vector<double> values;
  for (std::int64_t i = 0; i < t.count(); ++i) values.push_back(at(t, i));
  return values;
}

double dot(const std::vector<double>& x, const std::vector<double>& y) {
  return std::inner_product(x.begin(), x.end(), y.begin(), 0.0);
}

}  // namespace

TEST_CASE("reports and dumps are of the directions that were handed out") {
  for (const char* inverse : {"cholesky", "eigen"}) {
    optim::KfacSettings settings;
    settings.inverse = inverse;
    settings.damping = 0.1;
    Rig rig(model({layer("conv", {{"channels", 4}, {"kernel", 3}, {"groups", 2}}, "c"),
                   layer("batch_norm", {}, "n"), layer("relu"),
                   layer("linear", {{"features", 3}}, "l")}),
            {5, 5, 2}, 6, settings, {});
    const auto u = rig.directions();
    for (const auto& block : rig.kfac->blocks()) {  // what a backend may leave there
      if (block.affine() && settings.inverse == "cholesky")
        rig.backend->elementwise().fill({.y = block.direction, .value = std::nan("")});
    }
    const auto dumps = rig.kfac->dump();
    const auto reports = rig.kfac->report();
    const auto& blocks = rig.kfac->blocks();
    REQUIRE(dumps.size() == blocks.size());
    REQUIRE(reports.size() == blocks.size());
    for (std::size_t i = 0; i < blocks.size(); ++i) {
      if (!blocks[i].affine()) continue;
      const optim::kfac::Block& block = blocks[i];
      const auto gradient = rig.gradient_of(block),
                 direction = Rig::matrix_of(u[block.shape.weight->id], u[block.shape.bias->id]);
      for (const core::NamedTensor& t : dumps[i].tensors) {
        if (t.name != "direction" && t.name != "gradient") continue;
        const auto& expected = t.name == "gradient" ? gradient : direction;
        CHECK(distance({values_of(t.tensor)}, {expected}) < 1e-15);
      }
      const double lengths = std::sqrt(dot(gradient, gradient) * dot(direction, direction));
      CHECK(reports[i].cosine == Approx(dot(gradient, direction) / lengths));
    }
  }
}
