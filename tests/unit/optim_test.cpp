// SPDX-License-Identifier: MIT
// optim: updates against their formulas, schedules against hand-made values, averages of weights.
#include <numbers>

#include "comm/serial_communicator.hpp"
#include "nn_support.hpp"
#include "optim/kinds.hpp"
#include "optim/optimizer.hpp"

using namespace isaribi;
using namespace isaribi::testing;
using optim::OptimizerSettings;

namespace {

/// Two parameters, a weight and a bias, in f64, with a gradient that follows from the step.
struct Fixture {
  std::unique_ptr<api::Backend> backend = reference_backend();
  nn::Parameter weight, bias;
  std::vector<nn::Parameter*> list{&weight, &bias};
  std::unique_ptr<comm::Communicator> comm = comm::make_serial_communicator();

  std::unique_ptr<optim::Optimizer> make(const OptimizerSettings& settings) {
    return optim::make_optimizer(settings, {}, {.parameters = list}, *backend, *comm);
  }

  Fixture() {
    weight.name = "c/weight";
    bias.name = "c/bias";
    bias.role = nn::Role::bias;
    std::uint64_t stream = 10;
    for (nn::Parameter* p : list) {
      p->value = random_tensor({5}, ++stream);
      p->gradient = random_tensor({5}, ++stream);
    }
  }
  void set_gradients(int step) {
    for (nn::Parameter* p : list) {
      const core::Tensor fresh = random_tensor({5}, static_cast<std::uint64_t>(100 + step));
      std::copy_n(fresh.data<double>(), 5, p->gradient.data<double>());
    }
  }
};

/// The same updates on plain numbers; `update(w, g, m, v, decays)` changes one scalar.
using ScalarUpdate =
    std::function<void(double& w, double g, double& m, double& v, bool decays, int step)>;

void compare(const OptimizerSettings& settings, double lr, const ScalarUpdate& update) {
  Fixture f;
  double w[2][5], m[2][5] = {}, v[2][5] = {};
  for (std::size_t k = 0; k < 2; ++k) std::copy_n(f.list[k]->value.data<double>(), 5, w[k]);
  const auto optimizer = f.make(settings);
  for (int step = 1; step <= 4; ++step) {
    f.set_gradients(step);
    for (std::size_t k = 0; k < 2; ++k) {
      for (std::size_t i = 0; i < 5; ++i) {
        update(w[k][i], f.list[k]->gradient.data<double>()[i], m[k][i], v[k][i],
               k == 0 || settings.decay_bias_and_norm, step);
      }
    }
    optimizer->step(lr, step);
    for (std::size_t k = 0; k < 2; ++k) {
      for (std::size_t i = 0; i < 5; ++i)
        REQUIRE(f.list[k]->value.data<double>()[i] == Approx(w[k][i]).epsilon(1e-13));
    }
  }
}

}  // namespace

TEST_CASE("sgd follows its formulas") {
  const double lr = 0.1;
  OptimizerSettings s;
  s.momentum = 0.0;
  compare(s, lr, [&](double& w, double g, double&, double&, bool, int) { w -= lr * g; });
  s.momentum = 0.9;
  s.weight_decay = 0.01;
  compare(s, lr, [&](double& w, double g, double& m, double&, bool decays, int) {
    g += (decays ? 0.01 : 0) * w;
    m = 0.9 * m + g;
    w -= lr * m;
  });
  s.nesterov = true;
  s.decay_bias_and_norm = true;
  compare(s, lr, [&](double& w, double g, double& m, double&, bool decays, int) {
    g += (decays ? 0.01 : 0) * w;
    m = 0.9 * m + g;
    w -= lr * (g + 0.9 * m);
  });
  s.nesterov = false;
  s.decay_bias_and_norm = false;
  s.decoupled = true;
  compare(s, lr, [&](double& w, double g, double& m, double&, bool decays, int) {
    m = 0.9 * m + g;
    w = (1 - lr * (decays ? 0.01 : 0)) * w - lr * m;
  });
}

TEST_CASE("adamw follows its formula") {
  OptimizerSettings s;
  s.kind = "adamw";
  s.weight_decay = 0.1;
  s.beta2 = 0.99;
  compare(s, 0.01, [&](double& w, double g, double& m, double& v, bool decays, int t) {
    m = 0.9 * m + 0.1 * g;
    v = 0.99 * v + 0.01 * g * g;
    w *= 1 - 0.01 * (decays ? 0.1 : 0);
    w -= 0.01 * (m / (1 - std::pow(0.9, t))) / (std::sqrt(v / (1 - std::pow(0.99, t))) + 1e-8);
  });
}

TEST_CASE("clipping bounds the norm of all gradients together") {
  Fixture f;
  OptimizerSettings s;
  s.momentum = 0;
  double squares = 0;
  for (nn::Parameter* p : f.list) squares += weighted_sum(p->gradient, p->gradient);
  const double norm = std::sqrt(squares), before = f.weight.value.data<double>()[2],
               g = f.weight.gradient.data<double>()[2];
  SECTION("a large bound changes nothing") {
    s.clip_norm = 2 * norm;
    f.make(s)->step(1.0, 1);
    CHECK(f.weight.value.data<double>()[2] == before - g);
  }
  SECTION("a small one scales") {
    s.clip_norm = 0.25 * norm;
    f.make(s)->step(1.0, 1);
    CHECK(f.weight.value.data<double>()[2] == Approx(before - 0.25 * g).epsilon(1e-13));
  }
}

TEST_CASE("state is named after the parameters, starts at zero and is enough to go on") {
  Fixture a, b;
  OptimizerSettings s;
  s.kind = GENERATE(as<std::string>(), "sgd", "adamw");
  const auto first = a.make(s), second = b.make(s);
  const auto state = first->state();
  REQUIRE(state.size() == (s.kind == "sgd" ? 2u : 4u));
  CHECK(state[0].name == (s.kind == "sgd" ? "momentum/c/weight" : "adam_m/c/weight"));
  if (s.kind == "adamw") CHECK(state[3].name == "adam_v/c/bias");
  for (const auto& t : state) CHECK(t.tensor.data<double>()[4] == 0.0);
  first->step(0.1, 1);
  for (std::size_t i = 0; i < state.size(); ++i)
    std::copy_n(state[i].tensor.data<double>(), 5, second->state()[i].tensor.data<double>());
  for (std::size_t k = 0; k < 2; ++k)
    std::copy_n(a.list[k]->value.data<double>(), 5, b.list[k]->value.data<double>());
  first->step(0.1, 2);
  second->step(0.1, 2);
  for (int i = 0; i < 5; ++i)
    CHECK(a.weight.value.data<double>()[i] == b.weight.value.data<double>()[i]);
}

TEST_CASE("schedules take their values") {
  optim::ScheduleSettings s;
  CHECK(optim::Schedule(s, 0.5, 10).lr(7) == 0.5);

  s.warmup_epochs = 2;
  s.warmup_start = 0.1;
  const optim::Schedule warm(s, 1.0, 10);
  CHECK(warm.lr(0) == Approx(0.1));
  CHECK(warm.lr(1) == Approx(0.55));
  CHECK(warm.lr(2) == 1.0);

  s.kind = "step";
  s.milestones = {4, 6.5};
  const optim::Schedule step(s, 1.0, 10);
  CHECK(step.lr(1) == Approx(0.55));
  CHECK(step.lr(3.99) == 1.0);
  CHECK(step.lr(4) == Approx(0.1));
  CHECK(step.lr(9) == Approx(0.01));

  s.kind = "cosine";
  s.final_fraction = 0.01;
  const optim::Schedule cosine(s, 2.0, 10);
  CHECK(cosine.lr(2) == Approx(2.0));
  CHECK(cosine.lr(4) == Approx(2 * (0.01 + 0.99 * 0.5 * (1 + std::cos(std::numbers::pi * 0.25)))));
  CHECK(cosine.lr(6) == Approx(2 * (0.01 + 0.99 * 0.5)));
  CHECK(cosine.lr(10) == Approx(0.02));
  CHECK(cosine.lr(12) == Approx(0.02));

  // Osawa et al. 2019: lr = peak (1 - (e - start) / (end - start))^p.
  s = {};
  s.kind = "polynomial";
  s.power = 11;
  s.start_epoch = 1;
  s.end_epoch = 53;
  const optim::Schedule polynomial(s, 8.18e-3, 35);
  CHECK(polynomial.lr(0.5) == Approx(8.18e-3));
  CHECK(polynomial.lr(14) == Approx(8.18e-3 * std::pow(0.75, 11)));
  CHECK(polynomial.lr(60) == 0.0);
}

TEST_CASE("averages of the weights") {
  Fixture f;
  double& w = f.weight.value.data<double>()[0];
  optim::AverageSettings s;
  s.start_epoch = 1;
  const auto run = [&](const std::string& kind) {
    s.kind = kind;
    s.decay = 0.9;
    optim::WeightAverage average(s, f.list, *f.backend);
    w = 100;
    average.update(0.5);  // before the start
    CHECK_FALSE(average.active());
    average.swap();
    CHECK(w == 100);
    for (const double value : {1.0, 2.0, 4.0}) {
      w = value;
      average.update(1.0);
    }
    CHECK(average.state()[0].name == "c/weight");
    CHECK(average.count() == 3);
    average.swap();
    const double averaged = w;
    average.swap();
    CHECK(w == 4);
    return averaged;
  };
  CHECK(run("ema") == Approx(0.9 * (0.9 * 1 + 0.1 * 2) + 0.1 * 4));
  CHECK(run("swa") == Approx(7.0 / 3));
  s.kind = "none";
  optim::WeightAverage none(s, f.list, *f.backend);
  none.update(5);
  CHECK(none.state().empty());
  CHECK_FALSE(none.active());
}

namespace {

/// U = grad / 2, all that such a class must write; momentum, trust region and decay are not its
/// business.
struct Half final : optim::Preconditioner {
  Half(std::vector<nn::Parameter*> list, api::Backend& backend_of)
      : parameters(std::move(list)),
        directions(optim::zeros_like(parameters, backend_of)),
        backend(backend_of) {}
  optim::Direction precondition(std::int64_t) override {
    optim::Direction result;
    result.tensors = directions;
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      const core::Tensor& g = parameters[i]->gradient;
      backend.elementwise().axpby({.alpha = 0.5, .x = g, .beta = 0.0, .y = directions[i]});
      result.product += 0.5 * backend.elementwise().dot(g, g);
    }
    return result;
  }
  std::vector<nn::Parameter*> parameters;
  std::vector<core::Tensor> directions;
  api::Backend& backend;
};

std::unique_ptr<optim::Optimizer> half(Fixture& f, const OptimizerSettings& settings,
                                       const optim::KfacSettings& trust,
                                       std::span<const nn::CurvedLayer> layers = {}) {
  return optim::make_preconditioned(settings, trust, {.parameters = f.list, .layers = layers},
                                    std::make_unique<Half>(f.list, *f.backend), *f.backend);
}

}  // namespace

TEST_CASE("another preconditioner needs no more than its directions") {
  Fixture f;
  const double before = f.weight.value.data<double>()[1], g = f.weight.gradient.data<double>()[1];
  double square = 0;
  for (const nn::Parameter* p : f.list) square += weighted_sum(p->gradient, p->gradient);
  OptimizerSettings s;
  s.kind = "half";
  optim::KfacSettings trust;
  trust.kl_clip = 1e-2;
  const auto optimizer = half(f, s, trust);
  REQUIRE(optimizer->step(0.5, 1).empty());
  const double nu = std::min(1.0, std::sqrt(1e-2 / (0.25 * 0.5 * square)));
  CHECK(f.weight.value.data<double>()[1] == Approx(before - 0.5 * nu * 0.5 * g).epsilon(1e-13));
}

TEST_CASE("directions: momentum that follows the rate, L2 before and decay after preconditioning") {
  optim::KfacSettings free;
  free.kl_clip = 0;
  for (const bool decoupled : {false, true}) {
    Fixture f;
    OptimizerSettings s;
    s.kind = "half";
    s.lr = 0.4;
    s.momentum = 0.8;
    s.momentum_follows_lr = true;
    s.weight_decay = 0.1;
    s.decoupled = decoupled;
    const auto optimizer = half(f, s, free);
    double w = f.weight.value.data<double>()[3], b = f.bias.value.data<double>()[3], vw = 0, vb = 0;
    for (const double lr : {0.4, 0.1}) {
      const double gw = f.weight.gradient.data<double>()[3], gb = f.bias.gradient.data<double>()[3];
      const double momentum = 0.8 * lr / 0.4;
      vw = momentum * vw + 0.5 * (gw + (decoupled ? 0 : 0.1 * w));
      vb = momentum * vb + 0.5 * gb;
      w = (1 - (decoupled ? lr * 0.1 : 0)) * w - lr * vw;
      b -= lr * vb;
      REQUIRE(optimizer->step(lr, 1).empty());
      CHECK(f.weight.value.data<double>()[3] == Approx(w).epsilon(1e-13));
      CHECK(f.bias.value.data<double>()[3] == Approx(b).epsilon(1e-13));
      f.set_gradients(2);
    }
  }
}

TEST_CASE("weights before batch norm are brought to norm sqrt(2 outputs), others are left") {
  Fixture f;
  nn::Curvature before_norm{.weight = &f.weight}, other{.weight = &f.bias};
  const std::vector<nn::CurvedLayer> layers{
      {.layer = nullptr, .curvature = before_norm, .normalised = true},
      {.layer = nullptr, .curvature = other, .normalised = false}};
  f.weight.shape = f.bias.shape = core::Shape{5};
  optim::KfacSettings rescale;
  rescale.rescale_weights = true;
  OptimizerSettings s;
  s.kind = "half";
  const double free = weighted_sum(f.bias.value, f.bias.value);
  REQUIRE(half(f, s, rescale, layers)->step(1e-9, 1).empty());
  CHECK(weighted_sum(f.weight.value, f.weight.value) == Approx(10).epsilon(1e-8));
  CHECK(weighted_sum(f.bias.value, f.bias.value) == Approx(free).epsilon(1e-6));
}

TEST_CASE("impossible settings are refused by name") {
  Fixture f;
  const auto complaint = [&](OptimizerSettings s) -> std::string {
    try {
      f.make(s);
    } catch (const core::UsageError& e) {
      return e.cause();
    }
    return "";
  };
  CHECK(complaint({.kind = "adam"}) == "optimizer/kind = \"adam\" is not known");
  CHECK(complaint({.momentum = 1.0}) == "optimizer/momentum = 1 is out of range");
  CHECK(complaint({.lr = -1}) == "optimizer/lr = -1 is out of range");
  CHECK(complaint({.momentum = 0, .nesterov = true}) == "optimizer/nesterov needs momentum");
  CHECK_THROWS_AS(optim::Schedule({.kind = "cosin"}, 1, 1), core::UsageError);
  CHECK_THROWS_AS(optim::Schedule({.kind = "step", .milestones = {3, 2}}, 1, 9), core::UsageError);
  CHECK_THROWS_AS(optim::Schedule({.kind = "polynomial", .start_epoch = 5, .end_epoch = 4}, 1, 9),
                  core::UsageError);
  CHECK_THROWS_AS(optim::WeightAverage({.kind = "mean"}, f.list, *f.backend), core::UsageError);
}
