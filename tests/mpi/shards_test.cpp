// SPDX-License-Identifier: MIT
// Sharded weights: on however many ranks, the bits of one rank that has all samples.
#include "routes.hpp"
#include "shards_net.hpp"

using namespace isaribi;
using namespace isaribi::mpi_test;

namespace {

void sgd(Communicator& world) {
  for (const char* backend : {"reference", "simd"}) {
    for (const bool bias : {true, false}) {
      compare(world, {.backend = backend, .bias = bias, .optimizer = momentum()}, backend);
      compare(world, {.backend = backend, .bias = bias, .batch = 96, .optimizer = {.kind = "sgd"}},
              backend);
    }
  }
}

void adamw(Communicator& world) {
  compare(world, {.optimizer = {.kind = "adamw", .weight_decay = 0.01}}, "adamw");
}

void micro_batches(Communicator& world) {
  compare(world, {.parts = 3, .optimizer = momentum()}, "micro-batches");
}

void along_routes(Communicator& world) {
  for (const std::string& plan : {levels(world, "direct"), levels(world, "shared") + "/1K"}) {
    comm::TunedRoute route = route_of(world, plan);
    compare(world, {.optimizer = momentum(), .route = &route}, plan);
  }
}

// The norm of all gradients is a sum over ranks, which may round otherwise.
void clipping(Communicator& world) {
  optim::OptimizerSettings settings = momentum();
  settings.clip_norm = 0.1;
  const auto alone = comm::make_serial_communicator();
  const Setup setup{.optimizer = settings};
  Net one(setup, *alone), many(setup, world), unclipped({.optimizer = momentum()}, *alone);
  double moved = 0;
  for (int step = 1; step <= 2; ++step) {
    one.run(step, setup.batch);
    many.run(step, setup.batch);
    unclipped.run(step, setup.batch);
  }
  for (std::size_t k = 0; k < one.graph().parameters().size(); ++k) {
    const core::Tensor &a = one.graph().parameters()[k]->value,
                       &b = many.graph().parameters()[k]->value,
                       &c = unclipped.graph().parameters()[k]->value;
    for (std::int64_t i = 0; i < a.count(); ++i) {
      expect(std::abs(a.data<float>()[i] - b.data<float>()[i]) < 1e-7, "clipped alike");
      moved = std::max<double>(moved, std::abs(a.data<float>()[i] - c.data<float>()[i]));
    }
  }
  expect(moved > 1e-3, "clipping had something to do");
}

/// What a checkpoint gives back is used in the next step.
void state_is_restored(Communicator& world) {
  for (const char* kind : {"sgd", "adamw"}) {
    optim::OptimizerSettings settings = momentum();
    settings.kind = kind;
    const auto alone = comm::make_serial_communicator();
    const Setup setup{.optimizer = settings};
    Net one(setup, *alone), many(setup, world);
    for (Net* net : {&one, &many}) {
      net->run(1, setup.batch);
      net->optimizer().gather_state();
      float value = 0;
      for (const core::NamedTensor& t : net->optimizer().state()) {
        for (std::int64_t i = 0; i < t.tensor.count(); ++i)
          t.tensor.data<float>()[i] = 1e-3f * static_cast<float>(++value);
      }
      net->optimizer().adopt_state();
      net->run(2, setup.batch);
    }
    expect_same(many, one, std::string("restored ") + kind);
  }
}

/// None of what all ranks get goes by the library then.
void routes_are_taken(Communicator& world) {
  comm::TunedRoute route = route_of(world, levels(world, "direct"));
  const Setup setup{.optimizer = momentum(), .route = &route};
  Net net(setup, world);
  const std::int64_t before = world.traffic().all_gather;
  net.run(1, setup.batch);
  expect_equal(world.traffic().all_gather, before, "bytes by the library along a route");
  Net direct({.optimizer = momentum()}, world);
  direct.run(1, setup.batch);
  expect((world.traffic().all_gather > before) == (world.size() > 1), "by the library without");
}

/// What a run shows as communication: in forward, in backward, and of updated rows.
void exchange_is_timed(Communicator& world) {
  core::PhaseTimers timers;
  Net net({.timers = &timers}, world);
  double before = 0;
  net.run(1, 11, [&](const std::string& part) {
    const double now = timers.seconds_of("exchange");
    expect(world.size() == 1 ? now == 0 : now > before, "exchange of " + part + " is timed");
    before = now;
  });
}

// Two layers add to their gradient, so all ranks sum it.
void shared_weights_stay_whole(Communicator& world) {
  nn::ModelSpec spec = model(true);
  nn::LayerSpec first = spec.layers[0], second = first;
  first.name = "first";
  first.numbers["features"] = second.numbers["features"] = kInputs;
  second.texts["share"] = "first";
  spec.layers = {first, second, spec.layers.back()};
  const auto backend = backend_of("simd");
  nn::Graph graph(spec, core::Shape{kInputs}, *backend,
                  {.max_batch = 2, .sharding = whatever_it_costs(world, 2 * world.size())});
  const std::int64_t whole = kInputs * kInputs + kInputs, all = whole + (kInputs + 1) * kOutputs;
  expect_equal(graph.flat_gradient().count(), world.size() == 1 ? all : whole, "summed");
  nn::Pass pass;
  pass.global_batch = 2 * world.size();
  pass.comm = &world;
  const core::Tensor y = graph.forward(pass, core::Tensor::zeros({2, kInputs}, core::DType::f32));
  graph.backward(pass, core::Tensor::zeros(y.shape(), core::DType::f32), false, nullptr);
}

void rule(Communicator& world) {
  const nn::Sharding sharding{.rank = 0, .ranks = 4, .batch = 256};
  expect(sharding.pays(4096, 4096), "a wide layer");
  expect(!sharding.pays(400, 120), "a small one");
  const nn::Sharding one_sample{.rank = 0, .ranks = 4, .batch = 1};
  expect(one_sample.pays(65536, 64), "16 rows for each rank");
  expect(!one_sample.pays(65536, 63), "fewer");
  nn::Sharding large = sharding;
  large.batch = 16384;
  expect(!large.pays(4096, 4096), "more samples than that pays for");
  nn::Sharding parts = sharding;
  parts.passes = 64;
  expect(!parts.pays(4096, 4096), "as many in micro-batches");
  nn::Sharding narrow = sharding;
  narrow.gradient_bytes = 2;
  expect(!narrow.pays(4096, 4096), "gradients of two bytes");
  expect(!nn::Sharding{.batch = 1}.pays(4096, 4096), "one rank");
  const nn::Shards shards = nn::Sharding{.rank = 1, .ranks = 3}.of(10);
  nn::Parameter p;
  p.shape = {10, 2};
  p.shards = shards;
  expect(shards.cuts == std::vector<std::int64_t>{0, 3, 6, 10} && shards.begin() == 3 &&
             p.own_shape() == core::Shape{3, 2} &&
             p.own_counts() == std::vector<std::int64_t>{6, 6, 8},
         "rows by rank");
  if (world.size() == 1) return;
  // A pass that the shards of a graph do not fit.
  Net net({}, world);
  nn::Pass pass;
  pass.global_batch = world.size();
  try {
    net.graph().forward(pass, core::Tensor::zeros({1, kInputs}, core::DType::f32));
  } catch (const core::InternalError& error) {
    return expect_in("does not fit the shards", error.cause());
  }
  expect(false, "a pass without a communicator is refused");
}

}  // namespace

int main(int argc, char** argv) {
  return run_cases(argc, argv,
                   {{"what pays", rule},
                    {"sgd", sgd},
                    {"adamw", adamw},
                    {"micro-batches", micro_batches},
                    {"along routes", along_routes},
                    {"clipping", clipping},
                    {"routes are taken", routes_are_taken},
                    {"exchange is timed", exchange_is_timed},
                    {"shared weights stay whole", shared_weights_stay_whole},
                    {"state is restored", state_is_restored}});
}
