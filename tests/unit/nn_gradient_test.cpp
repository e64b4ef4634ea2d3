// SPDX-License-Identifier: MIT
// nn: the gradients of whole graphs against finite differences in f64.
#include <fmt/format.h>

#include <algorithm>

#include "nn_support.hpp"

using namespace isaribi;
using namespace isaribi::testing;
using core::Shape;

TEST_CASE("gradients: convolutions with every option") {
  check_gradients(
      model({layer("conv", {{"channels", 4}, {"kernel", 3}, {"stride", 2}}, "", {},
                   {{"pad", "same"}}),
             layer("tanh"),
             layer("conv", {{"channels", 6},
                            {"kernel_h", 3},
                            {"kernel_w", 2},
                            {"groups", 2},
                            {"dilation", 2},
                            {"pad_top", 2},
                            {"pad_left", 1},
                            {"pad_right", 2}}),
             layer("sigmoid"), layer("conv", {{"depthwise", 1}, {"kernel", 2}, {"bias", 0}}),
             layer("swish"), layer("conv", {{"depthwise", 1}, {"channels", 12}, {"kernel", 1}}),
             layer("linear", {{"features", 3}})}),
      {9, 10, 2}, 3);
}

TEST_CASE("gradients: every pool and activation") {
  check_gradients(
      model({layer("conv", {{"channels", 3}, {"kernel", 3}, {"pad", 1}}), layer("relu"),
             layer("max_pool", {{"kernel", 3}, {"stride", 2}, {"pad", 1}}),
             layer("conv", {{"channels", 4}, {"kernel", 1}}), layer("relu6"),
             layer("average_pool", {{"kernel", 2}, {"stride", 1}, {"pad_bottom", 1}}),
             layer("conv", {{"channels", 5}, {"kernel", 2}}), layer("tanh"),
             layer("global_average_pool"), layer("linear", {{"features", 4}}), layer("swish")}),
      {8, 8, 1}, 4);
}

TEST_CASE("gradients: residual blocks, with and without a fused relu, and reuse of one value") {
  check_gradients(
      model({layer("conv", {{"channels", 4}, {"kernel", 3}, {"pad", 1}}, "a"), layer("batch_norm"),
             layer("relu", {}, "start"),
             layer("conv", {{"channels", 4}, {"kernel", 3}, {"pad", 1}}, "b"),
             layer("batch_norm", {}, "bn2"), layer("add", {}, "sum1", {"bn2", "start"}),
             layer("relu", {}, "end1"),
             layer("conv", {{"channels", 6}, {"kernel", 1}, {"stride", 2}}, "c", {"end1"}),
             layer("conv", {{"channels", 6}, {"kernel", 3}, {"pad", 1}, {"stride", 2}}, "d",
                   {"end1"}),
             layer("add", {}, "sum2", {"c", "d"}), layer("tanh", {}, "t"),
             layer("add", {}, "twice", {"t", "t"}), layer("add", {}, "thrice", {"t", "twice"}),
             layer("linear", {{"features", 3}})}),
      {6, 6, 2}, 3);
}

TEST_CASE("gradients: a residual sum whose shortcut is also read after the main branch") {
  check_gradients(
      model({layer("linear", {{"features", 4}}, "e"), layer("linear", {{"features", 4}}, "l"),
             layer("linear", {{"features", 4}}, "m", {"e"}), layer("add", {}, "s", {"e", "l"}),
             layer("add", {}, "t", {"s", "m"})}),
      {3}, 2);
}

TEST_CASE("gradients: concatenation, also with the input itself") {
  check_gradients(model({layer("conv", {{"channels", 2}, {"kernel", 3}, {"pad", 1}}, "a"),
                         layer("conv", {{"channels", 3}, {"kernel", 1}}, "b", {"input"}),
                         layer("concat", {}, "c", {"a", "input", "b", "a"}), layer("tanh"),
                         layer("conv", {{"channels", 2}, {"kernel", 2}}), layer("flatten"),
                         layer("linear", {{"features", 4}}, "l"),
                         layer("linear", {{"features", 2}}, "m", {"flatten1"}),
                         layer("concat", {}, "", {"m", "l"})}),
                  {4, 5, 2}, 3);
}

TEST_CASE("gradients: shared weights add up") {
  const nn::ModelSpec spec =
      model({layer("conv", {{"channels", 3}, {"kernel", 3}, {"pad", 1}}, "a"), layer("tanh"),
             layer("conv", {{"channels", 3}, {"kernel", 3}, {"pad", 1}}, "b", {}, {{"share", "a"}}),
             layer("batch_norm", {}, "n1"), layer("relu"),
             layer("conv", {{"channels", 3}, {"kernel", 3}, {"pad", 1}}, "c", {}, {{"share", "b"}}),
             layer("batch_norm", {}, "n2", {}, {{"share", "n1"}}),
             layer("linear", {{"features", 8}}, "f"), layer("sigmoid"),
             layer("linear", {{"features", 8}}), layer("sigmoid"),
             layer("linear", {{"features", 8}}, "g", {}, {{"share", "linear2"}})});
  check_gradients(spec, {5, 5, 3}, 3);

  const auto backend = reference_backend();
  nn::Graph graph(spec, {5, 5, 3}, *backend, {.max_batch = 1});
  CHECK(graph.parameters().size() == 8);  // a, n1, f, linear2
  CHECK(graph.parameter_count() == 84 + 6 + 75 * 8 + 8 + 72);
}

TEST_CASE("gradients: dropout, batch norm before a pool, an embedding of an image") {
  check_gradients(model({layer("conv", {{"channels", 4}, {"kernel", 3}}),
                         layer("batch_norm", {{"epsilon", 0.01}}), layer("dropout", {{"p", 0.3}}),
                         layer("max_pool"), layer("linear", {{"features", 6}}), layer("batch_norm"),
                         layer("relu"), layer("dropout", {{"p", 0.5}}),
                         layer("linear", {{"features", 3}}), layer("batch_norm")}),
                  {6, 6, 1}, 5);
}

TEST_CASE("the number of micro-batches does not change the gradient") {
  const auto backend = reference_backend();
  const nn::ModelSpec spec =
      model({layer("conv", {{"channels", 4}, {"kernel", 3}}), layer("relu"), layer("dropout"),
             layer("linear", {{"features", 3}}), layer("linear", {{"features", 3}})});
  nn::Graph graph(spec, {5, 5, 1}, *backend, {.max_batch = 6, .type = core::DType::f64, .seed = 1});
  const core::Tensor x = random_tensor({6, 5, 5, 1}, 1), c = random_tensor({6, 3}, 2);
  nn::Pass pass = training_pass(6);
  graph.forward(pass, x);
  graph.backward(pass, c, false, nullptr);
  std::vector<double> whole(graph.flat_gradient().data<double>(),
                            graph.flat_gradient().data<double>() + graph.parameter_count());

  std::vector<std::pair<std::int64_t, std::int64_t>> ranges;
  const nn::Graph::Ready ready = [&](std::int64_t begin, std::int64_t end) {
    ranges.emplace_back(begin, end);
  };
  for (const auto& [begin, end] : {std::pair{0, 1}, std::pair{1, 5}, std::pair{5, 6}}) {
    pass.ids = ids(6).rows(begin, end);
    graph.forward(pass, x.rows(begin, end));
    graph.backward(pass, c.rows(begin, end), begin > 0, end == 6 ? ready : nn::Graph::Ready());
  }
  for (std::size_t i = 0; i < whole.size(); ++i) {
    REQUIRE(graph.flat_gradient().data<double>()[i] ==
            Approx(whole[i]).epsilon(1e-12).margin(1e-14));
  }
  // Ready ranges: in order, without gaps, the last layer first.
  REQUIRE(ranges.size() == 3);
  CHECK(ranges[0] == std::pair<std::int64_t, std::int64_t>(0, 12));
  CHECK(ranges[1].first == 12);
  CHECK(ranges[2].second == graph.parameter_count());
}

TEST_CASE(
    "gradients: thirty random graphs, so that values are read, added and shared in every order") {
  const core::Philox dice(3, core::Purpose::test);
  for (std::uint64_t g = 0; g < 30; ++g) {
    std::uint64_t draw = 0;
    const auto roll = [&](std::size_t sides) { return dice.word(g, draw++) % sides; };
    std::vector<nn::LayerSpec> layers;
    std::vector<std::string> names{"input"}, unread;
    const auto put = [&](const std::string& kind, std::map<std::string, double> numbers,
                         std::vector<std::string> inputs) {
      const std::string name = fmt::format("n{}", layers.size());
      for (const std::string& used : inputs)
        unread.erase(std::remove(unread.begin(), unread.end(), used), unread.end());
      layers.push_back(layer(kind, std::move(numbers), name, std::move(inputs)));
      names.push_back(name);
      unread.push_back(name);
    };
    // The last three names are likelier, so that chains as well as wide graphs appear.
    const auto pick = [&] {
      return roll(2) == 0 ? names[roll(names.size())]
                          : names[names.size() - 1 - roll(std::min<std::size_t>(3, names.size()))];
    };
    put("conv", {{"channels", 3}, {"kernel", 1}}, {"input"});
    for (int i = 0; i < 9; ++i) {
      const char* kinds[] = {"conv", "add", "add", "relu", "tanh", "batch_norm", "dropout"};
      const std::string kind = kinds[roll(7)];
      if (kind == "conv") {
        put(kind, {{"channels", 3}, {"kernel", 1}}, {pick()});
      } else if (kind == "add") {
        put(kind, {}, {pick(), pick()});
      } else {
        put(kind, {}, {pick()});
      }
    }
    while (unread.size() > 1) put("add", {}, {unread[0], unread[1]});
    put("linear", {{"features", 2}}, {unread[0]});
    INFO("graph " << g);
    check_gradients(model(layers), {2, 2, 3}, 2, 3);
  }
}
