// SPDX-License-Identifier: MIT
// Helpers of the nn and optim tests: the reference backend, decks in one line, filled tensors, and
// gradients checked by finite differences.
#pragma once

#include <cmath>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "backends/api/registry.hpp"
#include "backends/reference/register.hpp"
#include "catch.hpp"
#include "core/error.hpp"
#include "core/rng.hpp"
#include "nn/graph.hpp"

namespace isaribi::testing {

inline std::unique_ptr<api::Backend> reference_backend() {
  core::Log log(1);
  api::Registry registry;
  reference::register_backend(registry);
  return registry.create("reference", {}, log);
}

/// One layer of a deck.
inline nn::LayerSpec layer(std::string kind, std::map<std::string, double> numbers = {},
                           std::string name = "", std::vector<std::string> inputs = {},
                           std::map<std::string, std::string> texts = {}) {
  return {.name = std::move(name),
          .kind = std::move(kind),
          .inputs = std::move(inputs),
          .numbers = std::move(numbers),
          .texts = std::move(texts),
          .place = "deck.toml:7"};
}

inline nn::ModelSpec model(std::vector<nn::LayerSpec> layers) {
  nn::ModelSpec spec;
  spec.layers = std::move(layers);
  return spec;
}

/// Values in [-1, 1) from the test stream `stream`.
inline core::Tensor random_tensor(const core::Shape& shape, std::uint64_t stream,
                                  core::DType type = core::DType::f64) {
  core::Tensor t(shape, type);
  const core::Philox key(77, core::Purpose::test, stream);
  for (std::int64_t i = 0; i < t.count(); ++i) {
    const double value = 2.0 * key.uniform(0, static_cast<std::uint64_t>(i)) - 1.0;
    if (type == core::DType::f64) {
      t.data<double>()[i] = value;
    } else {
      t.data<float>()[i] = static_cast<float>(value);
    }
  }
  return t;
}

/// Sample ids 0, 1, .. (or from `first`).
inline core::Tensor ids(std::int64_t n, std::int32_t first = 0) {
  core::Tensor t({n}, core::DType::i32);
  for (std::int64_t i = 0; i < n; ++i)
    t.data<std::int32_t>()[i] = first + static_cast<std::int32_t>(i);
  return t;
}

inline nn::Pass training_pass(std::int64_t n) {
  nn::Pass pass;
  pass.seed = 5;
  pass.step = 3;
  pass.ids = ids(n);
  pass.global_batch = n;
  return pass;
}

/// sum_i c_i y_i in order.
inline double weighted_sum(const core::Tensor& c, const core::Tensor& y) {
  double sum = 0;
  for (std::int64_t i = 0; i < y.count(); ++i) sum += c.data<double>()[i] * y.data<double>()[i];
  return sum;
}

/// Builds the model in f64, runs a batch of n, and compares the gradient of sum c y with central
/// differences in up to `samples` scalars of every parameter.
inline void check_gradients(const nn::ModelSpec& spec, const core::Shape& sample, std::int64_t n,
                            std::int64_t samples = 12) {
  const auto backend = reference_backend();
  nn::Graph graph(spec, sample, *backend,
                  {.max_batch = n + 1, .type = core::DType::f64, .seed = 11});
  const nn::Pass pass = training_pass(n);
  const core::Tensor x = random_tensor(sample.batched(n), 1);
  const core::Tensor c = random_tensor(graph.output_sample_shape().batched(n), 2);
  const auto loss = [&] { return weighted_sum(c, graph.forward(pass, x)); };

  for (nn::Parameter* p :
       graph.parameters()) {  // away from 0, where dropped samples sit on relu's corner
    if (p->role == nn::Role::weight) continue;
    const core::Tensor shift = random_tensor(p->shape, 100 + p->id);
    for (std::int64_t i = 0; i < p->value.count(); ++i)
      p->value.data<double>()[i] += 0.2 * shift.data<double>()[i];
  }
  loss();
  graph.backward(pass, c, false, nullptr);
  for (nn::Parameter* p : graph.parameters()) {
    const std::int64_t stride = std::max<std::int64_t>(1, p->value.count() / samples);
    for (std::int64_t i = 0; i < p->value.count(); i += stride) {
      double& w = p->value.data<double>()[i];
      const double h = 1e-5, start = w;
      w = start + h;
      const double up = loss();
      w = start - h;
      const double down = loss();
      w = start;
      const double numeric = (up - down) / (2 * h), exact = p->gradient.data<double>()[i];
      INFO(p->name << "[" << i << "]: backward " << exact << ", differences " << numeric);
      REQUIRE(std::abs(exact - numeric) <= 1e-7 + 1e-6 * std::abs(numeric));
    }
  }
}

}  // namespace isaribi::testing
