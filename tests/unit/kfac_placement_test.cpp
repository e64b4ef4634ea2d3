// SPDX-License-Identifier: MIT
// Who owns what, what it costs on the wire, and when statistics are renewed: against hand-made
// values and published counts.
#include <numeric>

#include "kfac_support.hpp"

using namespace isaribi;
using namespace isaribi::testing;
using namespace isaribi::optim::kfac;

TEST_CASE("the heaviest layers go to the ranks with the least work") {
  const std::vector<double> costs{1, 8, 3, 3, 2, 1};
  const Placement p = place(Scheme::mpd, 0, costs, 3);
  CHECK(p.owner == std::vector<int>{2, 0, 1, 2, 1, 2});
  std::vector<double> load(3, 0.0);
  for (std::size_t i = 0; i < costs.size(); ++i)
    load[static_cast<std::size_t>(p.owner[i])] += costs[i];
  CHECK(*std::max_element(load.begin(), load.end()) == 8);
}

TEST_CASE("columns share inverses, rows receive directions") {
  const Placement p = place(Scheme::hybrid, 0.5, std::vector<double>(6, 1.0), 4);
  CHECK(p.workers == 2);
  CHECK(p.columns() == 2);
  for (std::size_t layer = 0; layer < 6; ++layer) {
    int workers = 0;
    for (int rank = 0; rank < 4; ++rank) workers += p.works(rank, layer);
    CHECK(workers == 2);
    CHECK(p.works(p.owner[layer], layer));
    for (int row = 0; row < 2; ++row) {  // each row has one rank of that column
      int found = 0;
      for (int rank = 0; rank < 4; ++rank) found += p.row(rank) == row && p.works(rank, layer);
      CHECK(found == 1);
    }
  }
  CHECK(place(Scheme::comm_opt, 0, std::vector<double>(2, 1.0), 6).workers == 6);
  CHECK(place(Scheme::mem_opt, 0, std::vector<double>(2, 1.0), 6).workers == 1);
  CHECK(place(Scheme::hybrid, 0.3, std::vector<double>(2, 1.0), 1).workers == 1);
}

TEST_CASE("bytes on the wire follow the formulas of each scheme") {
  const double n = 1000, u = 500, k = 3000, i = 4000;
  const auto of = [&](Scheme scheme, double fraction, int ranks) {
    return wire_bytes(place(scheme, fraction, std::vector<double>(3, 1.0), ranks), n, u, k, i);
  };
  const WireBytes mpd = of(Scheme::mpd, 0, 4), comm = of(Scheme::comm_opt, 0, 4),
                  mem = of(Scheme::mem_opt, 0, 4), hybrid = of(Scheme::hybrid, 0.5, 4),
                  dp = of(Scheme::dp, 0, 4), alone = of(Scheme::mpd, 0, 1);
  CHECK(mpd.gradient == 750);  // reduce-scatter n (P - 1) / P
  CHECK(mpd.direction == 375);
  CHECK(mpd.factors == 2250);
  CHECK(mpd.inverses == 0);
  CHECK(comm.gradient == 1500);  // allreduce
  CHECK(comm.direction == 0);
  CHECK(comm.inverses == 3000);
  CHECK(mem.gradient == 1500);
  CHECK(mem.direction == 375);
  CHECK(hybrid.direction == 250);
  CHECK(hybrid.inverses == 2000);
  CHECK(dp.factors == 0);
  CHECK(alone.gradient + alone.direction + alone.factors + alone.inverses == 0);
}

TEST_CASE("packed factors of LeNet-5 are 114,506 numbers, half of the full ones") {
  const auto backend = reference_backend();
  nn::ModelSpec spec;
  spec.preset = "lenet5";
  const nn::Graph graph(spec, {28, 28, 1}, *backend, {.allocate = false});
  const auto layers = graph.curved_layers();
  optim::KfacSettings s;
  const std::vector<Block> blocks = make_blocks(Kind::kfac, layers);
  const Placement p = place(Scheme::comm_opt, 0, std::vector<double>(blocks.size(), 1.0), 1);
  double full = 0, inputs = 0;
  for (const Block& b : blocks) {
    full += static_cast<double>(b.a.shape.count() + b.g.shape.count());
    inputs += static_cast<double>(b.a.shape.count());
  }
  for (const auto& [type, wire, bytes] :
       {std::tuple{"f64", "full", 8}, {"f32", "full", 4}, {"f64", "bf16", 2}}) {
    s.factor_type = type;
    s.wire = wire;
    const Sizes sizes = sizes_of(blocks, p, 0, s, core::DType::f32);
    CHECK(sizes.wire_factors == 114506.0 * bytes);
    CHECK(sizes.wire_factors < 0.51 * full * bytes);
    CHECK(sizes.inverses == 2 * 4 * full);  // those in use, and room for the next
    CHECK(sizes.packed == 4 * inputs);
  }
  CHECK(resolved(Kind::kfac, s).inverse == "cholesky");
  s = resolved(Kind::ekfac, s);
  CHECK(sizes_of(blocks, p, 0, s, core::DType::f32).inverses == 4 * full);
  CHECK(sizes_of(blocks, p, 0, s, core::DType::f32).packed == 0);
}

TEST_CASE("renewal: fixed, ramped, and as the statistic changes (SP-NGD)") {
  optim::KfacSettings s;
  s.refresh = "fixed";
  CHECK(planned_interval(s, 10, 1) == 10);
  s.refresh = "ramp";
  s.ramp_steps = 100;
  CHECK(planned_interval(s, 11, 0) == 1);
  CHECK(planned_interval(s, 11, 50) == 6);
  CHECK(planned_interval(s, 11, 500) == 11);

  Refresh r;
  CHECK(r.due(1));
  r = {.last = 5, .interval = 3, .previous_interval = 2};
  CHECK_FALSE(r.due(7));
  CHECK(r.due(8));
  CHECK(adaptive_interval(r, {.to_last = true, .to_both = true}) == 5);  // 3 + 2
  CHECK(adaptive_interval(r, {.to_last = true, .to_both = false}) == 3);
  CHECK(adaptive_interval(r, {}) == 1);
}

TEST_CASE("an unchanging statistic is renewed at Fibonacci distances, a new one at once") {
  const double average = GENERATE(0.0, 0.95);
  optim::KfacSettings s;
  s.refresh = "adaptive";
  s.inverse = "cholesky";
  s.average = average;
  const nn::ModelSpec spec = model({layer("linear", {{"features", 2}}, "l")});
  Rig rig(spec, {3}, 4, s, {});
  std::vector<std::int64_t> renewed;
  for (std::int64_t step = 1; step <= 40; ++step) {
    rig.directions(step);
    if (rig.block("l").a.refresh.last == step) renewed.push_back(step);
  }
  CHECK(renewed == std::vector<std::int64_t>{1, 2, 3, 5, 8, 13, 21, 34});
  for (std::int64_t i = 0; i < rig.x.count(); ++i) Rig::put(rig.x, i, 5 * at(rig.x, i));
  std::vector<std::int64_t> later;
  for (std::int64_t step = 41; step <= 75; ++step) {
    rig.directions(step);
    if (rig.block("l").a.refresh.last == step) later.push_back(step);
  }
  if (average == 0) {
    CHECK(later == std::vector<std::int64_t>{55, 65, 75});  // 21, halved to 10, kept once, ..
  } else {  // 21, and halved while the average is on its way to the new value
    CHECK(later == std::vector<std::int64_t>{55, 65, 70, 72, 73, 74, 75});
  }
}

TEST_CASE("with adaptive intervals the past of an average fades with steps, not with renewals") {
  optim::KfacSettings s;
  s.refresh = "adaptive";
  s.inverse = "cholesky";
  s.average = 0.5;
  s.factor_every = 4;
  const nn::ModelSpec spec = model({layer("linear", {{"features", 2}}, "l")});
  Rig rig(spec, {3}, 4, s, {});
  double expected = 0;
  std::int64_t last = 0, renewals = 0;
  for (std::int64_t step = 1; step <= 60; ++step) {
    for (std::int64_t i = 0; i < rig.x.count(); ++i)
      Rig::put(rig.x, i, 1 + 0.01 * static_cast<double>(step));
    rig.directions(step);
    if (rig.block("l").a.refresh.last != step) continue;
    const double k = static_cast<double>(++renewals), x = 1 + 0.01 * static_cast<double>(step);
    const double keep = std::min(1 - 1 / k, std::pow(0.5, static_cast<double>(step - last) / 4));
    expected = keep * expected + (1 - keep) * x * x;
    last = step;
    CHECK(rig.block("l").a.average.data<double>()[0] == Approx(expected).epsilon(1e-12));
  }
  CHECK(renewals < 40);
}

TEST_CASE("damping: towards a target, by the reduction ratio, and up after a refusal") {
  optim::KfacSettings s;
  s.damping = 1.0;
  s.damping_schedule = "target";
  s.damping_target = 0.01;
  s.damping_steps = 100;
  Damping target(s);
  double expected = 1.0;
  for (int i = 0; i < 50; ++i) {
    target.advance();
    expected += 2 * 2.0 / 100 * (0.01 - expected);  // alpha = 2 log10(lambda_0 / target) / steps
  }
  CHECK(target.value() == Approx(expected).epsilon(1e-12));
  s.damping_schedule = "levenberg_marquardt";
  Damping lm(s);
  const double step = std::pow(0.95, 5);
  lm.judge({.loss_change = -0.9, .model_change = -1.0});
  CHECK(lm.value() == Approx(step));
  lm.judge({.loss_change = -0.5, .model_change = -1.0});
  CHECK(lm.value() == Approx(step));
  lm.judge({.loss_change = -0.1, .model_change = -1.0});
  CHECK(lm.value() == Approx(1.0));
  lm.judge({.loss_change = 1.0, .model_change = 1.0});  // the model itself went up
  CHECK(lm.value() == Approx(1 / step));
  lm.judge({.loss_change = std::nan(""), .model_change = -1.0});
  CHECK(lm.value() == Approx(1 / step / step));
  lm.raise();
  CHECK(lm.value() == Approx(10 / step / step));
}
