// SPDX-License-Identifier: MIT
// The trial of the quadratic model: where the loss is quadratic in the weights the model is exact,
// but for the damping; elsewhere it is that of dense Gauss-Newton algebra.
#include "train/trial.hpp"

#include "comm/serial_communicator.hpp"
#include "nn_support.hpp"

using namespace isaribi;
using namespace isaribi::testing;

namespace {

/// One layer of weights on vectors, in f64, that learns its input.
struct Bench {
  std::unique_ptr<api::Backend> backend = reference_backend();
  std::unique_ptr<comm::Communicator> comm = comm::make_serial_communicator();
  core::Log log{1};
  core::PhaseTimers timers;
  train::Context context{*comm, *backend, log, timers};
  train::Config config;
  nn::Graph graph{model({layer("linear", {{"features", 4}}, "l")}),
                  {4},
                  *backend,
                  {.max_batch = 5, .type = core::DType::f64, .seed = 3}};
  core::Tensor x = random_tensor({5, 4}, 1), labels{{5}, core::DType::i32};
  nn::Pass pass = training_pass(5);

  explicit Bench(const std::string& loss) {
    config.train.loss = loss;
    if (loss != "softmax_cross_entropy") config.data.targets = "self";
    for (std::int32_t i = 0; i < 5; ++i) labels.data<std::int32_t>()[i] = i % 4;
    for (std::int64_t i = 0; i < x.count(); ++i)
      x.data<double>()[i] = 0.5 + 0.4 * x.data<double>()[i];
  }

  optim::Trial trial(double damping, double step) {
    train::Objective objective(config.train, config.data, {4}, {4}, 4, core::DType::f64, 5,
                               *backend);
    const double scale = 1.0 / 5;
    const core::Tensor z = graph.forward(pass, x);
    const double loss = objective.evaluate(z, x, labels, scale, true).loss;
    train::TrialPoint point(pass, {x, labels, pass.ids}, scale, graph, objective, context);
    for (nn::Parameter* p : graph.parameters()) {
      const core::Tensor d = random_tensor(p->shape, 50 + p->id);
      for (std::int64_t i = 0; i < d.count(); ++i)
        p->value.data<double>()[i] += step * d.data<double>()[i];
      moved += weighted_sum(d, d) * step * step;
    }
    std::vector<double> before;
    for (nn::Parameter* p : graph.parameters()) before.push_back(p->value.data<double>()[0]);
    const optim::Trial result = point.judge(loss, damping, config, objective);
    for (std::size_t i = 0; i < before.size(); ++i)  // the weights are where the step put them
      CHECK(graph.parameters()[i]->value.data<double>()[0] == before[i]);
    return result;
  }
  double moved = 0;  ///< |d|^2
};

}  // namespace

TEST_CASE("a quadratic loss is predicted exactly, the damping adds lambda |d|^2 / 2") {
  for (const double damping : {0.0, 0.3}) {
    Bench b("mean_squared_error");
    const optim::Trial t = b.trial(damping, 0.7);
    CHECK(t.model_change - 0.5 * damping * b.moved == Approx(t.loss_change).epsilon(1e-9));
    if (damping == 0) CHECK(t.ratio() == Approx(1.0).epsilon(1e-9));
  }
}

TEST_CASE("L2 weight decay is part of both sides") {
  Bench plain("mean_squared_error"), decayed("mean_squared_error");
  decayed.config.optimizer.weight_decay = 0.2;
  const optim::Trial without = plain.trial(0, 0.5);
  const optim::Trial with = decayed.trial(0.2, 0.5);  // damping() includes the decay
  CHECK(with.loss_change != Approx(without.loss_change));
  // Biases do not decay, but lambda, which holds the decay, is damping for all weights.
  const nn::Parameter& bias = *decayed.graph.parameters()[1];
  const core::Tensor d = random_tensor(bias.shape, 50 + bias.id);
  const double of_bias = 0.5 * 0.2 * 0.25 * weighted_sum(d, d);
  CHECK(with.model_change - of_bias == Approx(with.loss_change).epsilon(1e-9));
}

TEST_CASE("other losses: the model is right to third order in the step") {
  const std::string loss =
      GENERATE(as<std::string>(), "bernoulli_cross_entropy", "softmax_cross_entropy");
  double previous = 0;
  for (const double step : {0.02, 0.01}) {
    Bench b(loss);
    const optim::Trial t = b.trial(0, step);
    const double error = std::abs(t.model_change - t.loss_change);
    CHECK(error < 1e-3 * std::abs(t.loss_change));
    if (previous > 0)
      CHECK(previous / error == Approx(8).epsilon(0.15));  // an error of third order
    previous = error;
  }
}
