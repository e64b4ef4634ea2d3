// SPDX-License-Identifier: MIT
// The steps of K-FAC against dense solves and against an independent reference; what must not
// change them; and how it recovers from what cannot be inverted.
#include "kfac_support.hpp"
#include "optim/kfac/inverse.hpp"

using namespace isaribi;
using namespace isaribi::testing;
using optim::kfac::Block;

namespace {

nn::ModelSpec network() {
  return model({layer("conv", {{"channels", 4}, {"kernel", 3}, {"pad", 1}, {"groups", 2}}, "c"),
                layer("tanh"), layer("linear", {{"features", 3}}, "l")});
}

nn::ModelSpec with_norm() {
  return model({layer("conv", {{"channels", 4}, {"kernel", 3}}, "c"), layer("batch_norm", {}, "n"),
                layer("relu"), layer("linear", {{"features", 3}}, "l")});
}

optim::KfacSettings settings(const std::string& inverse, double damping = 0.1) {
  optim::KfacSettings s;
  s.inverse = inverse;
  s.damping = damping;
  return s;
}

double mean_diagonal(const Matrix& m) {
  double sum = 0;
  for (std::size_t i = 0; i < m.size(); ++i) sum += m[i][i];
  return sum / static_cast<double>(m.size());
}

Matrix plus_diagonal(Matrix m, double value) {
  for (std::size_t i = 0; i < m.size(); ++i) m[i][i] += value;
  return m;
}

/// |x - y| / |y|.
double distance(const std::vector<double>& x, const std::vector<double>& y) {
  return testing::distance(Matrix{x}, Matrix{y});
}

std::vector<double> slice(const std::vector<double>& v, std::size_t first, std::size_t count) {
  return {v.begin() + static_cast<std::ptrdiff_t>(first),
          v.begin() + static_cast<std::ptrdiff_t>(first + count)};
}

/// Direction of one block, as rows of [weight, bias].
std::vector<double> direction_of(const std::vector<core::Tensor>& u, const Block& block) {
  return Rig::matrix_of(u[block.shape.weight->id],
                        block.shape.bias != nullptr ? u[block.shape.bias->id] : core::Tensor());
}

/// All directions behind each other.
std::vector<double> flat(const std::vector<core::Tensor>& u) {
  std::vector<double> all;
  for (const core::Tensor& t : u) {
    for (std::int64_t i = 0; i < t.count(); ++i) all.push_back(at(t, i));
  }
  return all;
}

/// A rig on the batch of `base`, k times.
void replicate(const Rig& base, Rig& rig) {
  const std::int64_t row = base.x.count() / base.batch;
  for (std::int64_t i = 0; i < rig.x.count(); ++i)
    Rig::put(rig.x, i, at(base.x, i % (base.batch * row)));
  for (std::int64_t i = 0; i < rig.targets.count(); ++i)
    Rig::put(rig.targets, i, at(base.targets, i % base.targets.count()));
}

}  // namespace

TEST_CASE("identity 6: directions solve the damped systems they stand for") {
  for (const char* fisher : {"empirical", "exact"}) {
    for (const char* inverse : {"cholesky", "eigen"}) {
      optim::KfacSettings s = settings(inverse);
      s.fisher = fisher;
      Rig rig(network(), {4, 4, 2}, 5, s, {});
      const auto u = rig.directions();
      for (const char* name : {"c", "l"}) {
        const Block& block = rig.block(name);
        const auto gradient = rig.gradient_of(block), direction = direction_of(u, block);
        Matrix a0 = factor_of(block.a, 0);
        const auto groups = static_cast<std::size_t>(block.shape.groups);
        double mean_a = 0, mean_g = 0;
        for (std::size_t k = 0; k < groups; ++k) {
          mean_a += mean_diagonal(factor_of(block.a, k)) / static_cast<double>(groups);
          mean_g += mean_diagonal(factor_of(block.g, k)) / static_cast<double>(groups);
        }
        const double pi = std::sqrt(mean_a / mean_g), root = std::sqrt(0.1);
        for (std::size_t k = 0; k < groups; ++k) {
          const Matrix a = factor_of(block.a, k), g = factor_of(block.g, k);
          const Matrix f = std::string(inverse) == "eigen" ? plus_diagonal(kronecker(g, a), 0.1)
                                                           : kronecker(plus_diagonal(g, root / pi),
                                                                       plus_diagonal(a, pi * root));
          const std::size_t size = f.size();
          CHECK(distance(slice(direction, k * size, size),
                         solve(f, slice(gradient, k * size, size))) < 1e-11);
        }
      }
    }
  }
}

TEST_CASE("FOOF solves with the mean A alone, batch norm with its 2 x 2 blocks") {
  Rig foof(network(), {4, 4, 2}, 5, settings("cholesky"), {.kind = optim::kfac::Kind::foof});
  const auto u = foof.directions();
  const Block& l = foof.block("l");
  const auto gradient = foof.gradient_of(l), direction = direction_of(u, l);
  const Matrix a = plus_diagonal(factor_of(l.a, 0), 0.1);
  for (std::size_t o = 0; o < 3; ++o) {
    CHECK(distance(slice(direction, o * a.size(), a.size()),
                   solve(a, slice(gradient, o * a.size(), a.size()))) < 1e-11);
  }
  Rig kfac(network(), {4, 4, 2}, 5, settings("cholesky"), {});
  kfac.directions();
  const double places = static_cast<double>(kfac.block("c").positions);
  REQUIRE(places > 1);  // FOOF's A is a mean over them
  for (std::size_t i = 0; i < factor_of(kfac.block("c").a, 0).size(); ++i) {
    const auto sum = factor_of(kfac.block("c").a, 0)[i], mean = factor_of(foof.block("c").a, 0)[i];
    for (std::size_t j = 0; j <= i; ++j) CHECK(places * mean[j] == Approx(sum[j]).epsilon(1e-12));
  }

  Rig rig(with_norm(), {4, 4, 2}, 5, settings("cholesky"), {});
  const auto v = rig.directions();
  const Block& n = rig.block("n");
  const double* f = n.g.average.data<double>();
  for (std::int64_t c = 0; c < 4; ++c) {
    const auto x = solve({{f[c] + 0.1, f[4 + c]}, {f[4 + c], f[8 + c] + 0.1}},
                         {at(n.shape.weight->gradient, c), at(n.shape.bias->gradient, c)});
    CHECK(at(v[n.shape.weight->id], c) == Approx(x[0]).epsilon(1e-12));
    CHECK(at(v[n.shape.bias->id], c) == Approx(x[1]).epsilon(1e-12));
  }
}

TEST_CASE("EKFAC: the second moments are those of projected per-sample gradients") {
  for (const char* name : {"c", "l"}) {  // by samples, and as one product
    optim::KfacSettings s = settings("eigen");
    s.placement = "comm_opt";
    s.factor_every = 1;
    Rig rig(network(), {4, 4, 2}, 5, s, {.kind = optim::kfac::Kind::ekfac});
    rig.directions(1);
    const auto u = rig.directions(2);
    const Block& block = rig.block(name);
    const auto gradient = rig.gradient_of(block), direction = direction_of(u, block);
    const auto rows = static_cast<std::size_t>(block.shape.outputs),
               columns = static_cast<std::size_t>(block.columns()), size = rows * columns;
    const auto groups = static_cast<std::size_t>(block.shape.groups);
    const auto project = [&](std::size_t k, const std::vector<double>& m, bool back) {
      const double* qa = block.inverse.a.data<double>() + k * columns * columns;
      const double* qg = block.inverse.g.data<double>() + k * rows * rows;
      std::vector<double> out(size, 0.0);
      for (std::size_t o = 0; o < rows; ++o) {
        for (std::size_t i = 0; i < columns; ++i) {
          for (std::size_t p = 0; p < rows; ++p) {
            for (std::size_t j = 0; j < columns; ++j) {
              const double g = back ? qg[o * rows + p] : qg[p * rows + o];
              const double a = back ? qa[i * columns + j] : qa[j * columns + i];
              out[o * columns + i] += g * a * m[p * columns + j];
            }
          }
        }
      }
      return out;
    };
    for (std::size_t k = 0; k < groups; ++k) {
      std::vector<double> moments(size, 0.0);
      for (std::int64_t n = 0; n < 5; ++n) {
        const auto g = rig.loss_gradient(n, rig.output(n));
        const Matrix j = rig.jacobian(n, block);
        std::vector<double> one(size, 0.0);
        for (std::size_t c = 0; c < g.size(); ++c) {
          for (std::size_t i = 0; i < size; ++i) one[i] += g[c] * j[c][k * size + i];
        }
        const auto p = project(k, one, false);
        for (std::size_t i = 0; i < size; ++i) moments[i] += p[i] * p[i] / 5;
      }
      const double* s_found = block.moments.average.data<double>() + k * size;
      CHECK(distance(std::vector<double>(s_found, s_found + size), moments) < 1e-10);
      auto p = project(k, slice(gradient, k * size, size), false);
      for (std::size_t i = 0; i < size; ++i) p[i] /= moments[i] + 0.1;
      CHECK(distance(slice(direction, k * size, size), project(k, p, true)) < 1e-10);
    }
  }
}

TEST_CASE("replicating the batch or splitting it into micro-batches changes no direction") {
  for (const core::DType type : {core::DType::f64, core::DType::f32}) {
    const double bound = type == core::DType::f64 ? 1e-12 : 1e-6;
    for (const char* fisher : {"empirical", "exact"}) {
      for (const char* approximation : {"expand", "reduce"}) {
        optim::KfacSettings s = settings("cholesky");
        s.fisher = fisher;
        s.approximation = approximation;
        for (const bool norm : {false, true}) {
          const nn::ModelSpec spec = norm ? with_norm() : network();
          Rig base(spec, {4, 4, 2}, 4, s, {.type = type});
          const auto u = flat(base.directions());
          for (const std::int64_t copies : {4, 16}) {
            Rig more(spec, {4, 4, 2}, 4 * copies, s, {.type = type});
            replicate(base, more);
            CHECK(distance(flat(more.directions()), u) < bound);
            if (norm) continue;  // batch statistics belong to the micro-batch
            Rig parts(spec, {4, 4, 2}, 4 * copies, s, {.type = type, .parts = copies});
            replicate(base, parts);
            CHECK(distance(flat(parts.directions()), u) < bound);
          }
        }
      }
    }
  }
}

TEST_CASE("the loss times c: damping times c (Gauss-Newton) or c^2 (empirical) makes up for it") {
  const double c = 7;
  for (const char* inverse : {"cholesky", "eigen"}) {
    for (const bool exact : {true, false}) {
      optim::KfacSettings s = settings(inverse);
      s.fisher = exact ? "exact" : "empirical";
      Rig base(network(), {4, 4, 2}, 5, s, {});
      const auto u = flat(base.directions());
      s.damping *= exact ? c : c * c;
      Rig scaled_rig(network(), {4, 4, 2}, 5, s, {.loss_scale = c});
      std::vector<double> v = flat(scaled_rig.directions());
      for (double& x : v) x *= exact ? 1 : c;
      CHECK(distance(v, u) < 1e-11);
    }
  }
}

TEST_CASE("a share of the samples is the average over these samples") {
  optim::KfacSettings s = settings("cholesky");
  Rig few(network(), {4, 4, 2}, 3, s, {});
  few.directions();
  s.sample_fraction = 0.5;
  Rig half(network(), {4, 4, 2}, 6, s, {});
  replicate(few, half);
  half.directions();
  CHECK(testing::distance(factor_of(half.block("c").a, 1), factor_of(few.block("c").a, 1)) < 1e-14);
  CHECK(testing::distance(factor_of(half.block("c").g, 1), factor_of(few.block("c").g, 1)) < 1e-14);
}

TEST_CASE("averages: the first replaces, the past fades, 0 forgets") {
  for (const double keep : {0.0, 0.5, 0.95}) {
    optim::KfacSettings s = settings("cholesky");
    s.average = keep;
    s.factor_every = 1;
    Rig rig(network(), {4, 4, 2}, 2, s, {});
    double expected = 0;
    for (std::int64_t step = 1; step <= 4; ++step) {
      for (std::int64_t i = 0; i < rig.x.count(); ++i)
        Rig::put(rig.x, i, static_cast<double>(step));
      rig.directions(step);
      const double k = static_cast<double>(step), e = std::min(1 - 1 / k, keep);
      expected = e * expected + (1 - e) * 16 * k * k;  // a channel of 4 x 4 under the middle tap
      CHECK(factor_of(rig.block("c").a, 0)[4][4] == Approx(expected).epsilon(1e-13));
    }
  }
}

TEST_CASE("identity 7: optimizer steps against an independent reference") {
  const auto backend = reference_backend();
  const auto comm = comm::make_serial_communicator();
  const std::int64_t n = 6, inputs = 4, outputs = 3, d = inputs + 1;
  nn::Graph graph(model({layer("linear", {{"features", 3}}, "l")}), {inputs}, *backend,
                  {.max_batch = n, .type = core::DType::f64, .seed = 4});
  const auto layers = graph.curved_layers();
  optim::OptimizerSettings o{
      .kind = "kfac", .momentum = 0.8, .weight_decay = 0.01, .decoupled = true};
  optim::KfacSettings s = settings("cholesky", 0.2);
  s.kl_clip = 1e-3;
  s.factor_every = s.inverse_every = 1;
  const auto optimizer =
      optim::make_optimizer(o, s, {graph.parameters(), layers, outputs}, *backend, *comm);
  nn::Parameter &w = *graph.parameters()[0], &b = *graph.parameters()[1];
  std::vector<double> weights, velocity(static_cast<std::size_t>(outputs * d), 0.0);
  for (std::int64_t r = 0; r < outputs; ++r) {
    for (std::int64_t c = 0; c < inputs; ++c) weights.push_back(at(w.value, r * inputs + c));
    weights.push_back(at(b.value, r));
  }
  Matrix mean_a = zeros(5, 5), mean_g = zeros(3, 3);
  for (std::int64_t step = 1; step <= 3; ++step) {
    const core::Tensor x = random_tensor({n, inputs}, static_cast<std::uint64_t>(10 + step));
    // Ours.
    const nn::Pass pass = training_pass(n);
    const optim::Listening heard = optimizer->begin_step({.step = step, .samples = n});
    graph.set_tap(heard.tap);
    const core::Tensor z = graph.forward(pass, x);
    core::Tensor dz({n, outputs}, core::DType::f64), t({n, outputs}, core::DType::f64),
        loss({n}, core::DType::f64);
    for (std::int64_t i = 0; i < t.count(); ++i)
      Rig::put(t, i, i % outputs == i / outputs % outputs ? 1 : 0);
    backend->loss().softmax_cross_entropy(
        {.z = z, .targets = t, .loss = loss, .dz = dz, .scale = 1.0 / static_cast<double>(n)});
    graph.backward(pass, dz, false, nullptr);
    const double lr = 0.5;
    REQUIRE(optimizer->step(lr, step).empty());
    // The reference.
    Matrix a = zeros(5, 5), g = zeros(3, 3), gradient = zeros(3, 5);
    for (std::int64_t i = 0; i < n; ++i) {
      std::vector<double> in, e;
      for (std::int64_t c = 0; c < inputs; ++c) in.push_back(at(x, i * inputs + c));
      in.push_back(1);
      double total = 0;
      for (std::size_t r = 0; r < 3; ++r) {
        double v = 0;
        for (std::size_t c = 0; c < 5; ++c) v += weights[r * 5 + c] * in[c];
        e.push_back(std::exp(v));
        total += e.back();
      }
      for (std::size_t r = 0; r < 3; ++r)
        e[r] = e[r] / total - (static_cast<std::int64_t>(r) == i % outputs ? 1 : 0);
      for (std::size_t r = 0; r < 5; ++r) {
        for (std::size_t c = 0; c < 5; ++c) a[r][c] += in[r] * in[c] / static_cast<double>(n);
      }
      for (std::size_t r = 0; r < 3; ++r) {
        for (std::size_t c = 0; c < 3; ++c) g[r][c] += e[r] * e[c] / static_cast<double>(n);
        for (std::size_t c = 0; c < 5; ++c) gradient[r][c] += e[r] * in[c] / static_cast<double>(n);
      }
    }
    const double keep = std::min(1 - 1 / static_cast<double>(step), 0.95);
    for (std::size_t r = 0; r < 5; ++r) {
      for (std::size_t c = 0; c < 5; ++c) mean_a[r][c] = keep * mean_a[r][c] + (1 - keep) * a[r][c];
    }
    for (std::size_t r = 0; r < 3; ++r) {
      for (std::size_t c = 0; c < 3; ++c) mean_g[r][c] = keep * mean_g[r][c] + (1 - keep) * g[r][c];
    }
    const double pi = std::sqrt(mean_diagonal(mean_a) / mean_diagonal(mean_g)),
                 root = std::sqrt(0.2);
    std::vector<double> flat_gradient;
    for (const auto& row : gradient)
      flat_gradient.insert(flat_gradient.end(), row.begin(), row.end());
    const auto u =
        solve(kronecker(plus_diagonal(mean_g, root / pi), plus_diagonal(mean_a, pi * root)),
              flat_gradient);
    double product = 0;
    for (std::size_t i = 0; i < u.size(); ++i) product += u[i] * flat_gradient[i];
    const double nu = std::min(1.0, std::sqrt(1e-3 / (lr * lr * product)));
    CHECK(nu < 1);
    for (std::size_t i = 0; i < u.size(); ++i) {
      velocity[i] = 0.8 * velocity[i] + nu * u[i];
      const double decay = i % 5 < 4 ? 0.01 : 0.0;
      weights[i] = (1 - lr * decay) * weights[i] - lr * velocity[i];
    }
    for (std::int64_t r = 0; r < outputs; ++r) {
      for (std::int64_t c = 0; c < d; ++c) {
        const double ours = c < inputs ? at(w.value, r * inputs + c) : at(b.value, r);
        REQUIRE(ours == Approx(weights[static_cast<std::size_t>(r * d + c)]).epsilon(1e-11));
      }
    }
  }
}

TEST_CASE("a factor that is not finite refuses the step, and damping rises until the run ends") {
  const auto backend = reference_backend();
  const auto comm = comm::make_serial_communicator();
  nn::Graph graph(network(), {4, 4, 2}, *backend, {.max_batch = 2, .type = core::DType::f64});
  const auto layers = graph.curved_layers();
  optim::KfacSettings s = settings("cholesky", 1e-3);
  s.max_refusals = 2;
  const auto optimizer =
      optim::make_optimizer({.kind = "kfac"}, s, {graph.parameters(), layers, 3}, *backend, *comm);
  const core::Tensor x = random_tensor({2, 4, 4, 2}, 1), dz = random_tensor({2, 3}, 2);
  const auto step = [&](double poison) {
    Rig::put(x, 0, poison);
    const optim::Listening heard = optimizer->begin_step({.step = 1, .samples = 2});
    graph.set_tap(heard.tap);
    graph.forward(training_pass(2), x);
    graph.backward(training_pass(2), dz, false, nullptr);
    return optimizer->step(0.1, 1);
  };
  const double before = at(graph.parameters()[0]->value, 0);
  CHECK(step(std::nan("")) == "the statistic c/A is not finite");
  CHECK(at(graph.parameters()[0]->value, 0) == before);
  CHECK(optimizer->refuse());
  CHECK(optimizer->damping() == Approx(1e-2));
  CHECK(step(1.0).empty());  // a good step ends the series
  for (const bool go_on : {true, true, false}) {
    CHECK_FALSE(step(std::nan("")).empty());
    CHECK(optimizer->refuse() == go_on);
  }
  CHECK(optimizer->damping() == Approx(10));
}

TEST_CASE("after a refusal the next step is made with inverses of the raised damping") {
  Rig rig(network(), {4, 4, 2}, 3, settings("cholesky", 1e-3), {});
  rig.directions(1);
  rig.kfac->refused();
  rig.directions(2);
  CHECK(rig.block("c").inverse.step == 2);
  CHECK(rig.block("c").inverse.report.damping == Approx(1e-2));
}

TEST_CASE("what Cholesky cannot factor is damped more, then inverted by its eigenvalues") {
  Rig rig(model({layer("linear", {{"features", 2}}, "l")}), {5}, 3, settings("cholesky", 1e-30),
          {.type = core::DType::f32});
  for (std::int64_t i = 0; i < rig.x.count(); ++i) Rig::put(rig.x, i, 1.0);  // A of rank one
  const auto u = rig.directions();
  const optim::kfac::InverseReport& report = rig.block("l").inverse.report;
  CHECK(report.retries == 4);
  CHECK(report.eigen == 1);
  CHECK(report.kept == 0);
  CHECK(report.damping == Approx(1e-27));
  for (const double x : flat(u)) CHECK(std::isfinite(x));
}

TEST_CASE("layers that K-FAC cannot treat, placements and damping that cannot be") {
  const auto backend = reference_backend();
  nn::Graph graph(network(), {4, 4, 2}, *backend, {.max_batch = 2});
  const auto layers = graph.curved_layers();
  const optim::Subject subject{graph.parameters(), layers, 3};
  const auto refuses = [&](const std::string& kind, const optim::KfacSettings& s, int ranks) {
    try {
      optim::check_optimizer({.kind = kind}, s, subject, ranks);
    } catch (const core::UsageError& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  optim::KfacSettings s;
  CHECK(refuses("kfac", s, 4).empty());
  s.placement = "hybrid";
  s.hybrid_fraction = 0.5;
  CHECK(refuses("kfac", s, 4).empty());
  CHECK(refuses("kfac", s, 3).find("hybrid_fraction = 0.5 of 3 ranks") != std::string::npos);
  s.hybrid_fraction = 0.75;
  CHECK_FALSE(refuses("kfac", s, 4).empty());
  s = {};
  CHECK(refuses("ekfac", s, 4).find("comm_opt") != std::string::npos);
  s = {};
  s.damping = 0;
  CHECK(refuses("kfac", s, 1).find("kfac/damping = 0") != std::string::npos);
  std::vector<nn::CurvedLayer> unknown = layers;
  unknown[0].curvature.reset();
  try {
    optim::check_optimizer({.kind = "kfac"}, {}, {graph.parameters(), unknown, 3}, 1);
    FAIL("a layer without curvature went through");
  } catch (const core::UsageError& e) {
    CHECK(std::string(e.what()).find("deck.toml:7: layer 'c': the curvature of a conv") !=
          std::string::npos);
  }
}
