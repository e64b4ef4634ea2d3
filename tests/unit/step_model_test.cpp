// SPDX-License-Identifier: MIT
// Step size and momentum from the quadratic model, against dense Gauss-Newton algebra in f64 that
// shares no code with src.
#include "optim/step_model.hpp"

#include "kfac_support.hpp"
#include "optim/kinds.hpp"
#include "train/trial.hpp"

using namespace isaribi;
using namespace isaribi::testing;
using Flat = std::vector<double>;

namespace {

double product(const Flat& x, const Flat& y) {
  double sum = 0;
  for (std::size_t i = 0; i < x.size(); ++i) sum += x[i] * y[i];
  return sum;
}

Flat times(const Matrix& m, const Flat& x) {
  Flat y;
  for (const auto& row : m) y.push_back(product(row, x));
  return y;
}

/// Directions D grad with a fixed diagonal D, and a damping.
class Diagonal final : public optim::Preconditioner {
 public:
  Diagonal(std::span<nn::Parameter* const> list, double damping, api::Backend& b)
      : parameters(list.begin(), list.end()),
        directions(optim::zeros_like(list, b)),
        lambda(damping),
        backend(b) {}
  optim::Direction precondition(std::int64_t) override {
    optim::Direction result;
    result.tensors = directions;
    std::int64_t k = 0;
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      for (std::int64_t j = 0; j < directions[i].count(); ++j) {
        const double g = at(parameters[i]->gradient, j);
        directions[i].data<double>()[j] = factor(k++) * g;
        result.product += directions[i].data<double>()[j] * g;
      }
    }
    return result;
  }
  static double factor(std::int64_t k) { return 0.5 + 0.25 * static_cast<double>(k % 4); }
  double damping() const override { return lambda; }
  std::vector<nn::Parameter*> parameters;
  std::vector<core::Tensor> directions;
  double lambda;
  api::Backend& backend;
};

/// Two layers of weights on vectors, in f64, that learn their input.
struct Bench {
  static constexpr std::int64_t kSamples = 5, kOutputs = 4;
  std::unique_ptr<api::Backend> backend = reference_backend();
  std::unique_ptr<comm::Communicator> comm = comm::make_serial_communicator();
  core::Log log{1};
  core::PhaseTimers timers;
  train::Context context{*comm, *backend, log, timers};
  train::Config config;
  nn::Graph graph{model({layer("linear", {{"features", 3}}, "a"), layer("tanh"),
                         layer("linear", {{"features", 4}}, "b")}),
                  {kOutputs},
                  *backend,
                  {.max_batch = kSamples, .type = core::DType::f64, .seed = 3}};
  core::Tensor x = random_tensor({kSamples, kOutputs}, 1), labels{{kSamples}, core::DType::i32};
  nn::Pass pass = training_pass(kSamples);
  api::LossKind kind;
  std::unique_ptr<train::Objective> objective;

  explicit Bench(const std::string& loss)
      : kind(loss == "mean_squared_error"        ? api::LossKind::mean_squared_error
             : loss == "bernoulli_cross_entropy" ? api::LossKind::bernoulli_cross_entropy
                                                 : api::LossKind::softmax_cross_entropy) {
    config.train.loss = loss;
    if (loss != "softmax_cross_entropy") config.data.targets = "self";
    for (std::int32_t i = 0; i < kSamples; ++i) labels.data<std::int32_t>()[i] = i % 4;
    for (std::int64_t i = 0; i < x.count(); ++i)
      x.data<double>()[i] = 0.5 + 0.4 * x.data<double>()[i];
    objective =
        std::make_unique<train::Objective>(config.train, config.data, core::Shape{kOutputs},
                                           core::Shape{kOutputs}, 4, core::DType::f64, 5, *backend);
  }

  Flat weights() {
    Flat all;
    for (const nn::Parameter* p : graph.parameters()) {
      for (std::int64_t i = 0; i < p->value.count(); ++i) all.push_back(at(p->value, i));
    }
    return all;
  }
  void set(const Flat& all) {
    std::size_t k = 0;
    for (nn::Parameter* p : graph.parameters()) {
      for (std::int64_t i = 0; i < p->value.count(); ++i) p->value.data<double>()[i] = all[k++];
    }
  }
  Flat gradient() {
    Flat all;
    for (const nn::Parameter* p : graph.parameters()) {
      for (std::int64_t i = 0; i < p->gradient.count(); ++i) all.push_back(at(p->gradient, i));
    }
    return all;
  }
  std::vector<core::Tensor> tensors(const Flat& all) {
    std::vector<core::Tensor> list;
    std::size_t k = 0;
    for (const nn::Parameter* p : graph.parameters()) {
      list.emplace_back(p->value.shape(), core::DType::f64);
      for (std::int64_t i = 0; i < p->value.count(); ++i) list.back().data<double>()[i] = all[k++];
    }
    return list;
  }
  double loss() {
    return objective->evaluate(graph.forward(pass, x), x, labels, 1.0 / kSamples, true).loss /
           kSamples;
  }
  train::TrialPoint point() {
    static_cast<void>(loss());
    graph.backward(pass, objective->gradient(), false, nullptr);
    return {pass, {x, labels, pass.ids}, 1.0 / kSamples, graph, *objective, context};
  }

  /// Mean over samples of J^T H J, J by central differences.
  Matrix gauss_newton() {
    const Flat w = weights();
    const std::size_t n = w.size();
    std::vector<Flat> columns;
    constexpr double h = 1e-5;
    for (std::size_t i = 0; i < n; ++i) {
      Flat there = w;
      Flat column;
      for (const double sign : {1.0, -1.0}) {
        there[i] = w[i] + sign * h;
        set(there);
        const core::Tensor z = graph.forward(pass, x);
        for (std::int64_t k = 0; k < z.count(); ++k) {
          if (sign > 0) column.push_back(at(z, k) / (2 * h));
          if (sign < 0) column[static_cast<std::size_t>(k)] -= at(z, k) / (2 * h);
        }
      }
      columns.push_back(column);
    }
    set(w);
    const core::Tensor z = graph.forward(pass, x);
    Matrix f = zeros(n, n);
    for (std::size_t s = 0; s < kSamples; ++s) {
      Flat out;
      for (std::size_t k = 0; k < kOutputs; ++k)
        out.push_back(at(z, static_cast<std::int64_t>(s * kOutputs + k)));
      const Matrix hessian = loss_hessian(kind, out);
      for (std::size_t i = 0; i < n; ++i) {
        for (std::size_t j = 0; j < n; ++j) {
          for (std::size_t k = 0; k < kOutputs; ++k) {
            for (std::size_t l = 0; l < kOutputs; ++l) {
              f[i][j] += columns[i][s * kOutputs + k] * hessian[k][l] *
                         columns[j][s * kOutputs + l] / kSamples;
            }
          }
        }
      }
    }
    return f;
  }
};

Flat random_direction(std::size_t n, std::uint64_t stream) {
  const core::Tensor t = random_tensor({static_cast<std::int64_t>(n)}, stream);
  return {t.data<double>(), t.data<double>() + n};
}

const auto kLosses = {"mean_squared_error", "bernoulli_cross_entropy", "softmax_cross_entropy"};

}  // namespace

TEST_CASE("the model along two directions is that of dense Gauss-Newton algebra") {
  for (const char* loss : kLosses) {
    Bench b(loss);
    const Matrix f = b.gauss_newton();
    train::TrialPoint point = b.point();
    const Flat g = b.gradient(), w = b.weights();
    const Flat p = random_direction(w.size(), 61), q = random_direction(w.size(), 62);
    const auto plane = point.along(b.tensors(p), b.tensors(q));
    CHECK(plane.slope_p == Approx(product(g, p)).epsilon(1e-4));
    CHECK(plane.slope_q == Approx(product(g, q)).epsilon(1e-4));
    CHECK(plane.pp == Approx(product(p, times(f, p))).epsilon(1e-4));
    CHECK(plane.pq == Approx(product(p, times(f, q))).epsilon(1e-4));
    CHECK(plane.qq == Approx(product(q, times(f, q))).epsilon(1e-4));
    CHECK(b.weights() == w);
    const auto alone = point.along(b.tensors(p), {});
    CHECK(alone.pp == plane.pp);
    CHECK(alone.qq == 0);
  }
}

TEST_CASE("the step is the minimum of the damped model in the plane of direction and last step") {
  for (const bool l2 : {false, true}) {
    Bench b("bernoulli_cross_entropy");
    const double decay = l2 ? 0.1 : 0.0, lambda = 0.3, lr = 0.7;
    const optim::OptimizerSettings s{
        .kind = "diagonal", .momentum = 0.9, .weight_decay = decay, .decay_bias_and_norm = true};
    optim::KfacSettings rule;
    rule.step_rule = "quadratic_model";
    rule.kl_clip = 0;
    const auto optimizer = optim::make_preconditioned(
        s, rule, {.parameters = b.graph.parameters()},
        std::make_unique<Diagonal>(b.graph.parameters(), lambda, *b.backend), *b.backend);
    Flat last(b.weights().size(), 0.0);
    for (std::int64_t step = 1; step <= 3; ++step) {
      Matrix f = b.gauss_newton();
      for (std::size_t i = 0; i < f.size(); ++i) f[i][i] += lambda;
      train::TrialPoint point = b.point();
      const Flat w = b.weights();
      Flat g = b.gradient(), u;
      for (std::size_t i = 0; i < g.size(); ++i) {
        g[i] += decay * w[i];
        u.push_back(Diagonal::factor(static_cast<std::int64_t>(i)) * g[i]);
      }
      const Flat fu = times(f, u), fl = times(f, last);
      Flat best{product(g, u) / product(u, fu), 0.0};
      if (step > 1) {
        best = solve({{product(u, fu), product(u, fl)}, {product(u, fl), product(last, fl)}},
                     {product(g, u), product(g, last)});
      }
      optimizer->set_model(&point);
      REQUIRE(optimizer->step(lr, step).empty());
      const Flat now = b.weights();
      double error = 0, size = 0;
      for (std::size_t i = 0; i < w.size(); ++i) {
        last[i] = best[0] * u[i] + best[1] * last[i];
        error += std::pow(now[i] - (w[i] - lr * last[i]), 2);
        size += std::pow(lr * last[i], 2);
      }
      CHECK(std::sqrt(error / size) < 1e-4);
      const auto cost = optimizer->cost();
      CHECK(cost->modelled == 1);
      CHECK(cost->step_size == Approx(best[0]).epsilon(1e-3));
      if (step > 1) CHECK(cost->step_momentum == Approx(best[1]).epsilon(1e-3));
    }
  }
}

TEST_CASE("the trust region bounds the divergence that the model tells") {
  Bench b("softmax_cross_entropy");
  const double lambda = 0.05, kappa = 1e-4, lr = 0.5;
  optim::KfacSettings rule;
  rule.step_rule = "quadratic_model";
  rule.kl_clip = kappa;
  const auto optimizer = optim::make_preconditioned(
      {.kind = "diagonal", .momentum = 0.9}, rule, {.parameters = b.graph.parameters()},
      std::make_unique<Diagonal>(b.graph.parameters(), lambda, *b.backend), *b.backend);
  Matrix f = b.gauss_newton();
  for (std::size_t i = 0; i < f.size(); ++i) f[i][i] += lambda;
  const Flat w = b.weights();
  train::TrialPoint point = b.point();
  optimizer->set_model(&point);
  REQUIRE(optimizer->step(lr, 1).empty());
  Flat d = b.weights();
  for (std::size_t i = 0; i < d.size(); ++i) d[i] -= w[i];
  CHECK(product(d, times(f, d)) == Approx(kappa).epsilon(1e-3));
  CHECK(optimizer->cost()->clipped == 1);
}

TEST_CASE("planes without a minimum of their own") {
  const optim::StepSizes parallel = optim::best_step({2, 4, 1, 2, 4});
  CHECK(parallel.alpha == 2);
  CHECK(parallel.momentum == 0);
  CHECK(parallel.change == -2);
  CHECK(optim::best_step({1, 0, 0, 0, 0}).alpha == 0);
}
