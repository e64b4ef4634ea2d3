// SPDX-License-Identifier: MIT
// K-FAC against what it approximates, where it is exact: dense Gauss-Newton blocks made of
// per-sample Jacobians. Every common wrong scale is shown to fail.
#include "kfac_support.hpp"

using namespace isaribi;
using namespace isaribi::testing;
using optim::kfac::Block;

namespace {

double tolerance(core::DType type) {
  return type == core::DType::f64 ? 1e-10 : 1e-5;
}

optim::KfacSettings exact(const std::string& approximation = "expand") {
  optim::KfacSettings s;
  s.fisher = "exact";
  s.approximation = approximation;
  return s;
}

optim::KfacSettings with_fisher(const std::string& fisher, std::int64_t samples = 1) {
  optim::KfacSettings s;
  s.fisher = fisher;
  s.samples = samples;
  return s;
}

/// Distance of the Kronecker block from `wanted`, worst over groups.
double error_of(Rig& rig, const std::string& name, bool empirical = false) {
  rig.directions();
  const Block& block = rig.block(name);
  double worst = 0;
  for (std::size_t k = 0; k < static_cast<std::size_t>(block.shape.groups); ++k) {
    const Matrix f = kronecker(factor_of(block.g, k), factor_of(block.a, k));
    worst = std::max(worst, distance(f, rig.gauss_newton(block, k, empirical)));
  }
  return worst;
}

nn::ModelSpec nonlinear() {
  return model({layer("conv", {{"channels", 3}, {"kernel", 4}}, "c"), layer("tanh"),
                layer("linear", {{"features", 4}}, "l"), layer("tanh"),
                layer("linear", {{"features", 3}}, "o")});
}

nn::ModelSpec deep_linear() {
  return model({layer("linear", {{"features", 5}}, "l1"), layer("linear", {{"features", 4}}, "l2"),
                layer("linear", {{"features", 3}}, "l3")});
}

/// One convolution with the given options; an output per place.
nn::ModelSpec one_conv(std::map<std::string, double> options, bool pooled) {
  std::vector<nn::LayerSpec> list{layer("conv", std::move(options), "c")};
  if (pooled) list.push_back(layer("global_average_pool"));
  return model(list);
}

const std::vector<std::map<std::string, double>> kConvolutions = {
    {{"channels", 3}, {"kernel", 3}},
    {{"channels", 3}, {"kernel", 3}, {"pad", 1}, {"stride", 2}},
    {{"channels", 2}, {"kernel_h", 2}, {"kernel_w", 3}, {"pad", 2}, {"dilation", 2}},
    {{"channels", 4}, {"kernel", 3}, {"pad", 1}, {"groups", 2}},
    {{"kernel", 3}, {"pad", 1}, {"depthwise", 1}},
    {{"channels", 3}, {"kernel", 1}, {"bias", 0}},
};

}  // namespace

TEST_CASE("identity 1: one sample without weight sharing, the block is the Gauss-Newton block") {
  for (const core::DType type : {core::DType::f64, core::DType::f32}) {
    for (const api::LossKind loss :
         {api::LossKind::softmax_cross_entropy, api::LossKind::mean_squared_error,
          api::LossKind::bernoulli_cross_entropy}) {
      for (const char* name : {"c", "l", "o"}) {
        Rig rig(nonlinear(), {4, 4, 2}, 1, exact(), {.type = type, .loss = loss});
        CHECK(error_of(rig, name) < tolerance(type));
        Rig empirical(nonlinear(), {4, 4, 2}, 1, with_fisher("empirical"),
                      {.type = type, .loss = loss});
        CHECK(error_of(empirical, name, true) < tolerance(type));
        CHECK(distance(kronecker(factor_of(empirical.block(name).g, 0),
                                 factor_of(empirical.block(name).a, 0)),
                       rig.gauss_newton(rig.block(name), 0)) > 1e-2);
      }
    }
  }
}

TEST_CASE("identity 1: drawn labels and random signs approach the Gauss-Newton block") {
  for (const char* fisher : {"monte_carlo", "curvature_propagation"}) {
    double before = 0;
    for (const std::int64_t draws : {50, 3000}) {
      Rig rig(nonlinear(), {4, 4, 2}, 1, with_fisher(fisher, draws), {});
      const double error = error_of(rig, "l");
      CHECK(error < 4.0 / std::sqrt(static_cast<double>(draws)));
      if (before > 0) CHECK(error < before / 3);  // 1 / sqrt(draws): a factor of 8
      before = error;
    }
  }
}

TEST_CASE("identity 2: deep linear nets with squared loss, any number of samples") {
  for (const core::DType type : {core::DType::f64, core::DType::f32}) {
    for (const char* name : {"l1", "l2", "l3"}) {
      Rig rig(deep_linear(), {6}, 7, exact(),
              {.type = type, .loss = api::LossKind::mean_squared_error});
      CHECK(error_of(rig, name) < tolerance(type));
      Rig empirical(deep_linear(), {6}, 7, with_fisher("empirical"),
                    {.type = type, .loss = api::LossKind::mean_squared_error});
      empirical.directions();
      const Block& block = empirical.block(name);
      CHECK(distance(kronecker(factor_of(block.g, 0), factor_of(block.a, 0)),
                     empirical.gauss_newton(block, 0)) > 0.1);
    }
  }
}

TEST_CASE("identity 3: expand is exact with a loss per place, reduce with a pooled output") {
  for (const core::DType type : {core::DType::f64, core::DType::f32}) {
    for (const auto& options : kConvolutions) {
      for (const bool pooled : {false, true}) {
        const nn::ModelSpec spec = one_conv(options, pooled);
        const Rig::Options rig_options{.type = type, .loss = api::LossKind::mean_squared_error};
        Rig right(spec, {4, 3, 2}, 2, exact(pooled ? "reduce" : "expand"), rig_options);
        CHECK(error_of(right, "c") < tolerance(type));
        Rig wrong(spec, {4, 3, 2}, 2, exact(pooled ? "expand" : "reduce"), rig_options);
        CHECK(error_of(wrong, "c") > 1e-2);
      }
    }
  }
}

TEST_CASE("identity 3: 1 x 1 convolutions in a row, and weights that layers share") {
  const nn::ModelSpec pointwise = model({layer("conv", {{"channels", 4}, {"kernel", 1}}, "c1"),
                                         layer("conv", {{"channels", 3}, {"kernel", 1}}, "c2")});
  for (const char* name : {"c1", "c2"}) {
    Rig rig(pointwise, {3, 2, 3}, 4, exact(), {.loss = api::LossKind::mean_squared_error});
    CHECK(error_of(rig, name) < 1e-10);
  }
  // Both uses of the weight see the same sample in two ways; their outputs lie side by side
  // (expand: a loss per use) or are added (reduce: one loss for all uses).
  const nn::LayerSpec second =
      layer("conv", {{"channels", 3}, {"kernel", 2}, {"stride", 2}}, "d", {"p"}, {{"share", "c"}});
  const std::vector<nn::LayerSpec> uses = {
      layer("conv", {{"channels", 3}, {"kernel", 2}, {"stride", 2}}, "c"),
      layer("average_pool", {{"kernel", 3}, {"stride", 1}, {"pad", 1}}, "p", {"input"}), second};
  for (const bool added : {false, true}) {
    std::vector<nn::LayerSpec> list = uses;
    list.push_back(layer(added ? "add" : "concat", {}, "j", {"c", "d"}));
    if (added) list.push_back(layer("global_average_pool"));
    Rig rig(model(list), {4, 4, 2}, 3, exact(added ? "reduce" : "expand"),
            {.loss = api::LossKind::mean_squared_error});
    rig.directions();
    const Block& block = rig.block("c");
    CHECK(block.uses == 2);
    CHECK(block.positions == 8);
    CHECK(error_of(rig, "c") < 1e-10);
  }
}

TEST_CASE("identity 4: in a piecewise linear net the block is the Hessian of the loss") {
  const nn::ModelSpec spec = model({layer("linear", {{"features", 6}}, "l1"), layer("relu"),
                                    layer("linear", {{"features", 5}}, "l2"), layer("relu"),
                                    layer("linear", {{"features", 3}}, "l3")});
  Rig rig(spec, {4}, 1, exact(), {});
  rig.directions();
  for (const char* name : {"l1", "l2", "l3"}) {
    const Block& block = rig.block(name);
    const Matrix f = kronecker(factor_of(block.g, 0), factor_of(block.a, 0));
    Matrix hessian = zeros(f.size(), f.size());
    const nn::Parameter& w = *block.shape.weight;
    const nn::Parameter& b = *block.shape.bias;
    const std::int64_t columns = block.columns();
    for (std::size_t e = 0; e < f.size(); ++e) {
      const auto row = static_cast<std::int64_t>(e) / columns,
                 column = static_cast<std::int64_t>(e) % columns;
      double& v = column + 1 < columns ? w.value.data<double>()[row * (columns - 1) + column]
                                       : b.value.data<double>()[row];
      const double start = v, h = 4e-3;
      // Central differences of order 6: the loss is smooth inside one linear piece.
      const double weights[] = {45.0, -9.0, 1.0};
      for (int k = 1; k <= 3; ++k) {
        for (const double sign : {1.0, -1.0}) {
          v = start + sign * k * h;
          rig.passes();
          const std::vector<double> g = rig.gradient_of(block);
          for (std::size_t i = 0; i < f.size(); ++i)
            hessian[i][e] += sign * weights[k - 1] / (60 * h) * g[i];
        }
      }
      v = start;
    }
    CHECK(distance(f, hessian) < 1e-9);
  }
}

TEST_CASE("identity 5: wrong scales, each as some library has it, are not the Fisher") {
  Rig rig(one_conv({{"channels", 3}, {"kernel", 3}}, false), {6, 5, 2}, 5, exact(),
          {.loss = api::LossKind::mean_squared_error});
  rig.directions();
  const Block& block = rig.block("c");
  const Matrix a = factor_of(block.a, 0), g = factor_of(block.g, 0),
               truth = rig.gauss_newton(block, 0);
  const double n = 5, places = 12;
  CHECK(distance(kronecker(g, a), truth) < 1e-10);
  for (const double wrong : {1 / n, 1 / (n * n), n, 1 / places, places, 1 / (places * places)})
    CHECK(distance(kronecker(scaled(g, wrong), a), truth) > 0.5);
}

TEST_CASE("identity 8: the Fisher of batch norm is that of per-sample derivatives") {
  const nn::ModelSpec spec =
      model({layer("conv", {{"channels", 3}, {"kernel", 2}}, "c"), layer("batch_norm", {}, "n"),
             layer("relu"), layer("linear", {{"features", 3}}, "l")});
  for (const core::DType type : {core::DType::f64, core::DType::f32}) {
    const std::int64_t batch = 6;
    Rig rig(spec, {4, 4, 2}, batch, with_fisher("empirical"), {.type = type});
    rig.directions();
    Rig twin(spec, {4, 4, 2}, batch, with_fisher("empirical"), {});  // the derivatives in f64
    for (std::size_t i = 0; i < rig.graph.parameters().size(); ++i) {
      for (std::int64_t k = 0; k < rig.graph.parameters()[i]->value.count(); ++k)
        Rig::put(twin.graph.parameters()[i]->value, k, at(rig.graph.parameters()[i]->value, k));
    }
    for (std::int64_t i = 0; i < rig.x.count(); ++i) Rig::put(twin.x, i, at(rig.x, i));
    for (std::int64_t i = 0; i < rig.targets.count(); ++i)
      Rig::put(twin.targets, i, at(rig.targets, i));
    const Block& block = twin.block("n");
    const double* fisher = rig.block("n").g.average.data<double>();
    nn::Pass pass = training_pass(batch);
    const auto losses = [&] {
      const core::Tensor z = twin.graph.forward(pass, twin.x);
      std::vector<double> list;
      for (std::int64_t n = 0; n < batch; ++n) {
        double total = 0, loss = 0;
        for (std::int64_t c = 0; c < 3; ++c) total += std::exp(at(z, n * 3 + c));
        for (std::int64_t c = 0; c < 3; ++c)
          loss -= at(twin.targets, n * 3 + c) * (at(z, n * 3 + c) - std::log(total));
        list.push_back(loss);
      }
      return list;
    };
    const auto derivative = [&](const nn::Parameter& p, std::int64_t c) {
      double& v = p.value.data<double>()[c];
      const double start = v, h = 2e-3, weights[] = {45.0, -9.0, 1.0};
      std::vector<double> d(static_cast<std::size_t>(batch), 0.0);
      for (int k = 1; k <= 3; ++k) {
        for (const double sign : {1.0, -1.0}) {
          v = start + sign * k * h;
          const std::vector<double> l = losses();
          for (std::size_t n = 0; n < d.size(); ++n)
            d[n] += sign * weights[k - 1] / (60 * h) * l[n];
        }
      }
      v = start;
      return d;
    };
    for (std::int64_t c = 0; c < 3; ++c) {
      const auto u = derivative(*block.shape.weight, c), v = derivative(*block.shape.bias, c);
      double uu = 0, uv = 0, vv = 0;
      for (std::size_t n = 0; n < u.size(); ++n) {
        uu += u[n] * u[n] / batch;
        uv += u[n] * v[n] / batch;
        vv += v[n] * v[n] / batch;
      }
      const double size = std::max(uu, vv), bound = type == core::DType::f64 ? 1e-9 : 1e-5;
      CHECK(std::abs(fisher[c] - uu) < bound * size);
      CHECK(std::abs(fisher[3 + c] - uv) < bound * size);
      CHECK(std::abs(fisher[6 + c] - vv) < bound * size);
    }
  }
}

TEST_CASE("L2 decay: directions are those of gradients that hold it") {
  const nn::ModelSpec spec =
      model({layer("conv", {{"channels", 4}, {"kernel", 3}}, "c"), layer("batch_norm", {}, "n"),
             layer("relu"), layer("linear", {{"features", 3}}, "l")});
  optim::KfacSettings s;
  s.damping = 0.1;
  Rig told(spec, {4, 4, 2}, 5, s, {}), plain(spec, {4, 4, 2}, 5, s, {});
  std::vector<double> decay;
  for (std::size_t i = 0; i < told.graph.parameters().size(); ++i)
    decay.push_back(0.5 + static_cast<double>(i));
  REQUIRE(told.kfac->add_decay(decay));
  const auto u = told.directions();
  plain.passes(1);
  for (nn::Parameter* p : plain.graph.parameters()) {
    for (std::int64_t i = 0; i < p->gradient.count(); ++i)
      Rig::put(p->gradient, i, at(p->gradient, i) + decay[p->id] * at(p->value, i));
  }
  const optim::Direction direction = plain.kfac->precondition(1);
  REQUIRE(direction.refused.empty());
  for (std::size_t k = 0; k < u.size(); ++k) {
    for (std::int64_t i = 0; i < u[k].count(); ++i)
      CHECK(at(u[k], i) == Approx(at(direction.tensors[k], i)).epsilon(1e-12));
  }
}
