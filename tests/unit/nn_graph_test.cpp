// SPDX-License-Identifier: MIT
// nn: messages for decks that cannot be, memory plans, taps, and what fusing must not change.
#include "nn/curvature.hpp"
#include "nn/plan.hpp"
#include "nn_support.hpp"

using namespace isaribi;
using namespace isaribi::testing;
using core::Shape;

namespace {

/// The message (cause and hint) of building the model.
std::string complaint(const nn::ModelSpec& spec, const Shape& sample = {8, 8, 1}) {
  const auto backend = reference_backend();
  try {
    nn::Graph graph(spec, sample, *backend, {});
  } catch (const core::UsageError& e) {
    return e.what();
  }
  return "";
}

bool says(const std::string& text, const std::string& part) {
  UNSCOPED_INFO(text);
  return text.find(part) != std::string::npos;
}

const nn::LayerSpec kHead = layer("linear", {{"features", 2}});

}  // namespace

TEST_CASE("messages name the layer, its place and the nearest valid name") {
  const auto conv = [](std::map<std::string, double> more) {
    more.insert({{"channels", 4}, {"kernel", 3}});
    return layer("conv", more, "c");
  };
  const auto of = [](std::vector<nn::LayerSpec> layers) {
    return complaint(model(std::move(layers)));
  };
  CHECK(says(of({layer("cnov")}), "deck.toml:7: layer 'cnov1': unknown layer kind 'cnov'"));
  CHECK(says(of({layer("cnov")}), "did you mean 'conv'?"));
  CHECK(says(of({conv({{"strid", 2}})}),
             "deck.toml:7: layer 'c': unknown option 'strid' of a conv layer"));
  CHECK(says(of({conv({{"strid", 2}})}), "did you mean 'stride'?"));
  CHECK(says(of({layer("relu", {{"slope", 1}})}), "it takes none"));
  CHECK(says(of({conv({{"stride", 0}})}), "stride = 0 is out of range"));
  CHECK(says(of({conv({{"stride", 1.5}})}), "must be a whole number"));
  CHECK(says(of({layer("conv", {{"channels", 4}})}), "kernel is missing"));
  CHECK(says(of({layer("conv", {{"kernel", 3}})}), "channels is missing"));
  CHECK(says(of({layer("conv", {{"channels", 4}, {"kernel", 3}}, "c", {}, {{"pad", "sam"}})}),
             "use one of: same"));
  CHECK(says(of({layer("conv", {{"channels", 4}}, "c", {}, {{"kernel", "big"}})}),
             "kernel must be a number"));
  CHECK(says(of({layer("dropout", {{"p", 1}}), kHead}), "p = 1 is out of range"));
  CHECK(says(of({conv({}), layer("relu", {}, "c")}), "the name is taken, see deck.toml:7"));
  CHECK(says(of({layer("relu", {}, "input")}), "this name cannot be used"));
  CHECK(says(of({conv({}), layer("relu", {}, "r", {"d"})}), "did you mean 'c'?"));
  CHECK(says(of({layer("relu", {}, "r", {"c"}), conv({})}), "does not come before it"));
  CHECK(says(of({conv({}), layer("relu", {}, "r", {"r"})}), "does not come before it"));
  CHECK(says(of({conv({}), layer("relu", {}, "r", {"input"})}),
             "layer 'c': no layer reads its output"));
  CHECK(says(of({conv({}), layer("add")}), "add takes 2 inputs, got 1"));
  CHECK(says(of({conv({}), layer("relu", {}, "r", {"c", "input"})}), "relu takes 1 input, got 2"));
  CHECK(says(of({layer("relu", {}, "", {}, {{"share", "x"}})}), "unknown option 'share'"));
  CHECK(says(of({conv({}), layer("linear", {{"features", 2}}, "", {}, {{"share", "c"}})}),
             "cannot share the weights of 'c'"));
  CHECK(says(of({}), "the model has no layers"));
}

TEST_CASE("shape errors tell expected and got") {
  const auto of = [](std::vector<nn::LayerSpec> layers) {
    return complaint(model(std::move(layers)));
  };
  CHECK(says(of({layer("conv", {{"channels", 4}, {"kernel", 9}})}),
             "deck.toml:7: layer 'conv1': expected at least 9 x 9"));
  CHECK(says(of({kHead, layer("conv", {{"channels", 4}, {"kernel", 3}})}),
             "expected an image [H, W, C], got [2]"));
  CHECK(says(of({kHead, layer("global_average_pool")}), "expected an image [H, W, C], got [2]"));
  CHECK(says(of({layer("conv", {{"channels", 4}, {"kernel", 3}, {"groups", 3}})}),
             "divisible by groups = 3, got 1 input"));
  CHECK(says(of({layer("conv", {{"channels", 4}, {"kernel", 3}}),
                 layer("add", {}, "", {"conv1", "input"})}),
             "expected two inputs of one shape, [6, 6, 4], got [8, 8, 1]"));
  CHECK(says(of({layer("conv", {{"channels", 4}, {"kernel", 3}}),
                 layer("concat", {}, "", {"conv1", "input"})}),
             "expected inputs that differ in channels only"));
  CHECK(says(of({layer("conv", {{"channels", 4}, {"kernel", 3}}),
                 layer("conv", {{"channels", 4}, {"kernel", 3}}, "d", {}, {{"share", "conv1"}})}),
             "expected [4, 3, 3, 1] with bias, got [4, 3, 3, 4] with bias"));

  const auto backend = reference_backend();
  nn::Graph graph(model({kHead}), {8, 8, 1}, *backend, {.max_batch = 2});
  CHECK_THROWS_AS(
      graph.forward(training_pass(3), core::Tensor::zeros({3, 8, 8, 1}, core::DType::f32)),
      core::ShapeError);
  CHECK_THROWS_AS(
      graph.forward(training_pass(2), core::Tensor::zeros({2, 8, 8, 1}, core::DType::f64)),
      core::ShapeError);
  CHECK_THROWS_AS(
      graph.forward(training_pass(2), core::Tensor::zeros({2, 8, 1, 8}, core::DType::f32)),
      core::ShapeError);
}

TEST_CASE("pieces that live together lie apart, others share") {
  std::vector<nn::Piece> pieces;
  const core::Philox key(1, core::Purpose::test);
  for (std::uint64_t i = 0; i < 200; ++i) {
    const int first = static_cast<int>(key.word(0, i) % 50);
    pieces.push_back({.elements = 1 + static_cast<std::int64_t>(key.word(1, i) % 100),
                      .first = first,
                      .last = first + static_cast<int>(key.word(2, i) % 10)});
  }
  const std::int64_t total = nn::place(pieces);
  std::int64_t sum = 0;
  for (std::size_t a = 0; a < pieces.size(); ++a) {
    sum += pieces[a].elements;
    REQUIRE(pieces[a].offset + pieces[a].elements <= total);
    for (std::size_t b = a + 1; b < pieces.size(); ++b) {
      const nn::Piece &p = pieces[a], &q = pieces[b];
      const bool apart = p.offset + p.elements <= q.offset || q.offset + q.elements <= p.offset;
      REQUIRE((apart || p.last < q.first || q.last < p.first));
    }
  }
  CHECK(total < sum / 3);
}

TEST_CASE("a fused relu changes no number") {
  const std::vector<nn::LayerSpec> layers{layer("conv", {{"channels", 4}, {"kernel", 3}}),
                                          layer("relu"),
                                          layer("batch_norm"),
                                          layer("relu"),
                                          layer("linear", {{"features", 6}}),
                                          layer("relu"),
                                          kHead};
  std::vector<nn::LayerSpec> apart = layers;
  for (const int after :
       {0, 3}) {  // an average pool of one value keeps numbers and prevents fusing
    apart.insert(apart.begin() + after + 1, layer("average_pool", {{"kernel", 1}}));
  }
  const auto backend = reference_backend();
  const core::Tensor x = random_tensor({3, 5, 5, 1}, 1, core::DType::f32),
                     c = random_tensor({3, 2}, 2, core::DType::f32);
  std::vector<std::vector<double>> gradients;
  std::vector<std::vector<float>> outputs;
  for (const auto& list : {layers, apart}) {
    nn::Graph graph(model(list), {5, 5, 1}, *backend, {.max_batch = 3, .seed = 2});
    const core::Tensor& y = graph.forward(training_pass(3), x);
    outputs.emplace_back(y.data<float>(), y.data<float>() + y.count());
    graph.backward(training_pass(3), c, false, nullptr);
    const core::Tensor& g = graph.flat_gradient();
    gradients.emplace_back(g.data<double>(), g.data<double>() + g.count());
  }
  CHECK(outputs[0] == outputs[1]);
  CHECK(gradients[0] == gradients[1]);
}

TEST_CASE("a relu is left alone when something else reads its input") {
  const auto backend = reference_backend();
  nn::Graph graph(model({layer("linear", {{"features", 2}, {"bias", 0}}, "a"),
                         layer("relu", {}, "r"), layer("add", {}, "s", {"a", "r"})}),
                  {2}, *backend, {.max_batch = 1, .type = core::DType::f64});
  const double identity[] = {1, 0, 0, 1}, sample[] = {-1, 2};
  std::copy(identity, identity + 4, graph.parameters()[0]->value.data<double>());
  core::Tensor x({1, 2}, core::DType::f64);
  std::copy(sample, sample + 2, x.data<double>());
  const core::Tensor& y = graph.forward(training_pass(1), x);
  CHECK(y.data<double>()[0] == -1.0);  // -1 + relu(-1)
  CHECK(y.data<double>()[1] == 4.0);
}

TEST_CASE("a graph for evaluation gives the same output in less memory") {
  const auto backend = reference_backend();
  nn::ModelSpec spec;
  spec.preset = "resnet8";
  nn::Graph trained(spec, {12, 12, 1}, *backend, {.max_batch = 2, .seed = 2});
  nn::Graph evaluated(spec, {12, 12, 1}, *backend, {.max_batch = 2, .training = false, .seed = 2});
  const core::Tensor x = random_tensor({2, 12, 12, 1}, 1, core::DType::f32);
  nn::Pass pass;
  pass.training = false;
  const core::Tensor a = trained.forward(pass, x), b = evaluated.forward(pass, x);
  for (std::int64_t i = 0; i < a.count(); ++i) REQUIRE(a.data<float>()[i] == b.data<float>()[i]);
  CHECK(evaluated.memory().gradients == 0);
  CHECK(3 * evaluated.memory().activations < trained.memory().activations);
  CHECK_THROWS_AS(evaluated.backward(pass, a, false, nullptr), core::InternalError);
}

TEST_CASE("taps hear inputs and output gradients from which the weight gradient follows") {
  struct Tap final : nn::CurvatureTap {
    std::map<std::string, std::vector<double>> inputs, gradients;
    std::vector<std::string> order;
    static std::vector<double> values(const core::Tensor& t) {
      return {t.data<double>(), t.data<double>() + t.count()};
    }
    void on_input(const nn::Layer& layer, const core::Tensor& t) override {
      order.push_back("+" + layer.name());
      inputs[layer.name()] = values(t);
    }
    void on_output_gradient(const nn::Layer& layer, const core::Tensor& x,
                            const core::Tensor& t) override {
      order.push_back("-" + layer.name());
      CHECK(values(x) == inputs[layer.name()]);
      gradients[layer.name()] = values(t);
    }
    void on_norm_gradient(const nn::Layer& layer,
                          const api::BatchNormBackwardReduce& operands) override {
      order.push_back("-" + layer.name());
      const auto x = values(operands.x), y = values(operands.y), dy = values(operands.dy);
      for (std::size_t k = 0; k < x.size(); ++k) {
        const auto c = static_cast<std::int64_t>(k % 3);
        inputs[layer.name()].push_back((x[k] - operands.mean.data<double>()[c]) *
                                       operands.inv_std.data<double>()[c]);
        gradients[layer.name()].push_back(y[k] > 0 ? dy[k] : 0.0);
      }
    }
  } tap;
  const auto backend = reference_backend();
  nn::Graph graph(
      model({layer("conv", {{"channels", 3}, {"kernel", 3}}, "c"), layer("batch_norm", {}, "n"),
             layer("relu"), layer("linear", {{"features", 4}}, "l"), layer("relu"),
             layer("linear", {{"features", 2}}, "o")}),
      {4, 4, 1}, *backend, {.max_batch = 3, .type = core::DType::f64, .seed = 4});
  const core::Tensor x = random_tensor({3, 4, 4, 1}, 1), c = random_tensor({3, 2}, 2);
  graph.forward(training_pass(3), x);
  graph.backward(training_pass(3), c, false, nullptr);
  const auto flat = Tap::values(graph.flat_gradient());
  graph.set_tap(&tap);
  graph.forward(training_pass(3), x);
  graph.backward(training_pass(3), c, false, nullptr);
  CHECK(flat == Tap::values(graph.flat_gradient()));  // listening changes nothing
  CHECK(tap.order == std::vector<std::string>{"+c", "+l", "+o", "-o", "-l", "-n", "-c"});

  const auto gradient_of = [&](const std::string& name) {
    for (nn::Parameter* p : graph.parameters()) {
      if (p->name == name) return Tap::values(p->gradient);
    }
    throw core::InternalError("no " + name);
  };
  const auto dw = gradient_of("l/weight");  // [4, 12] = sum_n g a^T
  for (std::size_t o = 0; o < 4; ++o) {
    for (std::size_t i = 0; i < 12; ++i) {
      double sum = 0;
      for (std::size_t n = 0; n < 3; ++n)
        sum += tap.gradients["l"][n * 4 + o] * tap.inputs["l"][n * 12 + i];
      REQUIRE(dw[o * 12 + i] == Approx(sum).margin(1e-14));
    }
  }
  const auto dscale = gradient_of("n/scale"), dshift = gradient_of("n/shift");
  for (std::size_t ch = 0; ch < 3; ++ch) {
    double scale = 0, shift = 0;
    for (std::size_t k = ch; k < tap.inputs["n"].size(); k += 3) {
      scale += tap.gradients["n"][k] * tap.inputs["n"][k];
      shift += tap.gradients["n"][k];
    }
    CHECK(dscale[ch] == Approx(scale));
    CHECK(dshift[ch] == Approx(shift));
  }
}
