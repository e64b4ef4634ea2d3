// SPDX-License-Identifier: MIT
// Which factors of a layer an inversion renews, and with what damping.
#include <cmath>

#include "backends/api/registry.hpp"
#include "backends/reference/register.hpp"
#include "catch.hpp"
#include "optim/kfac/inverse.hpp"

using namespace isaribi;
using namespace isaribi::optim;
using namespace isaribi::optim::kfac;
using core::DType;
using core::Tensor;

namespace {

constexpr double kLambda = 0.25;

std::unique_ptr<api::Backend> make_reference() {
  core::Log log(1);
  api::Registry registry;
  reference::register_backend(registry);
  return registry.create("reference", {}, log);
}

/// diag(first, second), packed.
Statistic diagonal(const char* name, double first, double second) {
  Statistic s;
  s.name = name;
  s.form = Statistic::Form::symmetric;
  s.shape = {1, 2, 2};
  s.average = Tensor::zeros({3}, DType::f64);
  s.average.data<double>()[0] = first;
  s.average.data<double>()[2] = second;
  return s;
}

/// A linear layer of two inputs and two outputs, in f64.
Block block_of(const KfacSettings& settings) {
  Block block;
  block.name = "fc";
  block.shape.inputs = block.shape.outputs = 2;
  block.a = diagonal("fc/A", 4, 2);
  block.g = diagonal("fc/G", 1, 2);
  block.gradient = Tensor::zeros({2, 2}, DType::f64);
  block.inverse.a = Tensor::zeros({1, 2, 2}, DType::f64);
  block.inverse.g = Tensor::zeros({1, 2, 2}, DType::f64);
  if (settings.inverse == "eigen") {
    block.inverse.values_a = Tensor::zeros({1, 2}, DType::f64);
    block.inverse.values_g = Tensor::zeros({1, 2}, DType::f64);
  } else {
    block.inverse.damping = Tensor::zeros({2}, DType::f64);
  }
  return block;
}

double& element(const Tensor& t, int i) {
  return t.data<double>()[i];
}

/// What is on the diagonal of a factor beside its own elements, by its inverse: the same for both.
double damping_in(const Tensor& inverse, const Statistic& s) {
  const double first = 1 / element(inverse, 0) - element(s.average, 0),
               second = 1 / element(inverse, 3) - element(s.average, 2);
  CHECK(std::abs(first - second) < 1e-12);
  return first;
}

}  // namespace

TEST_CASE("a renewed factor is inverted alone while lambda and its split stay") {
  const auto backend = make_reference();
  const KfacSettings settings;
  Block block = block_of(settings);
  invert(block, settings, kLambda, 1, {}, *backend);
  const double a = damping_in(block.inverse.a, block.a), g = damping_in(block.inverse.g, block.g);
  CHECK(std::abs(a * g - kLambda) < 1e-12);
  CHECK(std::abs(a / g - 2) < 1e-12);  // pi^2: mean of A over mean of G

  const double before = element(block.inverse.a, 0);
  element(block.g.average, 0) = 1.3;
  invert(block, settings, kLambda, 2, {.a = false, .g = true}, *backend);
  CHECK(block.inverse.step == 2);
  CHECK(element(block.inverse.a, 0) == before);
  CHECK(damping_in(block.inverse.g, block.g) == Approx(g));  // as split before
  CHECK(element(block.inverse.g, 0) == Approx(1 / (1.3 + g)));

  element(block.a.average, 0) = 4.5;
  invert(block, settings, kLambda, 3, {.a = true, .g = false}, *backend);
  CHECK(element(block.inverse.a, 0) == Approx(1 / (4.5 + a)));
  CHECK(damping_in(block.inverse.g, block.g) == Approx(g));
}

TEST_CASE("both factors are inverted when lambda changes or would be split otherwise") {
  const auto backend = make_reference();
  const KfacSettings settings;
  Block block = block_of(settings);
  invert(block, settings, kLambda, 1, {}, *backend);

  invert(block, settings, 4 * kLambda, 2, {.a = false, .g = true}, *backend);
  CHECK(damping_in(block.inverse.a, block.a) * damping_in(block.inverse.g, block.g) ==
        Approx(4 * kLambda));

  element(block.g.average, 0) = 2;  // pi by 1.15 less
  invert(block, settings, 4 * kLambda, 3, {.a = false, .g = true}, *backend);
  const double a = damping_in(block.inverse.a, block.a), g = damping_in(block.inverse.g, block.g);
  CHECK(a / g == Approx(1.5));
  CHECK(a * g == Approx(4 * kLambda));
}

TEST_CASE("a failed inversion of one factor raises the damping of both") {
  const auto backend = make_reference();
  const KfacSettings settings;
  Block block = block_of(settings);
  invert(block, settings, kLambda, 1, {}, *backend);
  element(block.g.average, 1) = 2.2;  // indefinite: eigenvalues -0.76 and 3.76
  invert(block, settings, kLambda, 2, {.a = false, .g = true}, *backend);
  CHECK(block.inverse.report.retries > 0);
  CHECK(block.inverse.report.damping > kLambda);
  CHECK(damping_in(block.inverse.a, block.a) > 0.8);  // before: 0.71
}

TEST_CASE("after an inversion that failed altogether both factors are inverted") {
  const auto backend = make_reference();
  const KfacSettings settings;
  Block block = block_of(settings);
  invert(block, settings, kLambda, 1, {}, *backend);
  const double before = element(block.inverse.g, 0);
  element(block.g.average, 0) = std::nan("");
  invert(block, settings, kLambda, 2, {.a = false, .g = true}, *backend);
  CHECK(block.inverse.report.kept == 1);
  CHECK(element(block.inverse.g, 0) == before);
  element(block.g.average, 0) = 1.3;
  invert(block, settings, kLambda, 3, {.a = true, .g = false}, *backend);
  CHECK(damping_in(block.inverse.a, block.a) * damping_in(block.inverse.g, block.g) ==
        Approx(kLambda));
}

TEST_CASE("eigenvectors are those of the renewed factor") {
  const auto backend = make_reference();
  KfacSettings settings;
  settings.inverse = "eigen";
  Block block = block_of(settings);
  invert(block, settings, kLambda, 1, {}, *backend);
  element(block.a.average, 0) = 40;
  element(block.g.average, 0) = 10;
  invert(block, settings, kLambda, 2, {.a = false, .g = true}, *backend);
  CHECK(element(block.inverse.values_a, 1) == Approx(4));
  CHECK(element(block.inverse.values_g, 1) == Approx(10));
}
