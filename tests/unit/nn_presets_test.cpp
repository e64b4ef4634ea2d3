// SPDX-License-Identifier: MIT
// nn: presets by their published numbers of parameters, multiply-adds and output shapes.
#include "nn_support.hpp"

using namespace isaribi;
using namespace isaribi::testing;
using core::Shape;

namespace {

struct Facts {
  std::int64_t parameters = 0;
  double multiply_adds = 0;
  Shape output;
  nn::Graph::Memory memory;
};

Facts facts(const std::string& preset, const Shape& sample, std::int64_t outputs) {
  const auto backend = reference_backend();
  nn::ModelSpec spec;
  spec.preset = preset;
  spec.outputs = outputs;
  const nn::Graph graph(spec, sample, *backend, {.max_batch = 2, .allocate = false});
  Facts f;
  f.parameters = graph.parameter_count();
  for (const auto& layer : graph.layers()) f.multiply_adds += layer->multiply_adds();
  f.output = graph.output_sample_shape();
  f.memory = graph.memory();
  return f;
}

}  // namespace

TEST_CASE("presets have their published numbers of parameters") {
  const Shape mnist{28, 28, 1}, photo{224, 224, 3};
  CHECK(facts("lenet5", mnist, 10).parameters == 61706);
  CHECK(facts("small_cnn", mnist, 10).parameters == 65834);
  CHECK(facts("resnet8", mnist, 10).parameters == 77754);
  CHECK(facts("resnet14", mnist, 10).parameters == 174970);
  CHECK(facts("resnet20", mnist, 10).parameters == 272186);
  CHECK(facts("resnet50", photo, 1000).parameters == 25557032);
  CHECK(facts("vgg16", photo, 1000).parameters == 138357544);
  CHECK(facts("mobilenet_v2", photo, 1000).parameters == 3504872);
  CHECK(facts("autoencoder", mnist, 10).parameters == 2837314);
  CHECK(facts("mlp", mnist, 10).parameters == 235146);
  CHECK(facts("embedding", mnist, 64).parameters == 101152);
}

TEST_CASE("presets have their published multiply-adds and outputs") {
  const Shape photo{224, 224, 3};
  CHECK(facts("lenet5", {28, 28, 1}, 10).multiply_adds == 117600 + 240000 + 48000 + 10080 + 840);
  CHECK(facts("resnet50", photo, 1000).multiply_adds == Approx(4.09e9).epsilon(0.01));
  CHECK(facts("vgg16", photo, 1000).multiply_adds == Approx(15.47e9).epsilon(0.01));
  CHECK(facts("mobilenet_v2", photo, 1000).multiply_adds == Approx(0.30e9).epsilon(0.01));
  CHECK(facts("autoencoder", {28, 28, 1}, 10).output == Shape{784});
  CHECK(facts("resnet14", {32, 32, 3}, 100).output == Shape{100});
  CHECK(facts("resnet50", {32, 32, 3}, 10).output == Shape{10});
  CHECK(facts("mobilenet_v2", {32, 32, 3}, 10).output == Shape{10});
  CHECK(facts("vgg16", {32, 32, 3}, 10).output == Shape{10});
}

TEST_CASE("memory is counted without being allocated, and gradients share it") {
  const nn::Graph::Memory m = facts("resnet20", {32, 32, 3}, 10).memory;
  CHECK(m.parameters == 272474u * 4);
  CHECK(m.gradients == 272474u * 8);
  // Three stages of 32 x 32 x 16 at most live at once in backward: far less than all activations.
  CHECK(m.activation_gradients <= 3u * 2 * 32 * 32 * 16 * 4);
  CHECK(m.activations > 8 * m.activation_gradients);
}

TEST_CASE("unknown presets are answered with the nearest name") {
  const auto backend = reference_backend();
  nn::ModelSpec spec;
  spec.preset = "resnet-14";
  try {
    nn::Graph graph(spec, {28, 28, 1}, *backend, {});
    FAIL("accepted");
  } catch (const core::UsageError& e) {
    CHECK(e.hint().find("did you mean 'resnet14'?") != std::string::npos);
  }
  spec.preset = "vgg16";
  CHECK_THROWS_AS(nn::Graph(spec, Shape({16, 16, 3}), *backend, {}), core::ShapeError);
}

TEST_CASE("weights start equal for equal seeds, with the spread their layer asks for") {
  const auto backend = reference_backend();
  nn::ModelSpec spec;
  spec.preset = "small_cnn";
  nn::Graph a(spec, {28, 28, 1}, *backend, {.max_batch = 1, .seed = 3});
  nn::Graph b(spec, {28, 28, 1}, *backend, {.max_batch = 4, .seed = 3});
  nn::Graph c(spec, {28, 28, 1}, *backend, {.max_batch = 1, .seed = 4});
  bool differs = false;
  for (std::size_t k = 0; k < a.parameters().size(); ++k) {
    const nn::Parameter &p = *a.parameters()[k], &q = *b.parameters()[k], &r = *c.parameters()[k];
    REQUIRE(p.name == q.name);
    double sum = 0, squares = 0;
    for (std::int64_t i = 0; i < p.value.count(); ++i) {
      const float v = p.value.data<float>()[i];
      REQUIRE(v == q.value.data<float>()[i]);
      differs = differs || v != r.value.data<float>()[i];
      sum += v;
      squares += double{v} * v;
    }
    const auto n = static_cast<double>(p.value.count());
    if (p.name == "c4_conv/weight") {  // He: variance 2 / fan_out
      CHECK(sum / n == Approx(0).margin(4 * std::sqrt(2.0 / 576 / n)));
      CHECK(squares / n == Approx(2.0 / 576).epsilon(0.05));
    }
    if (p.name == "output/weight") CHECK(squares / n == Approx(1.0 / 64 / 3).epsilon(0.15));
    if (p.role == nn::Role::norm_scale) CHECK(sum == n);
    if (p.role == nn::Role::norm_shift) CHECK(squares == 0);
  }
  CHECK(differs);
}
