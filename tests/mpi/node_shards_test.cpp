// SPDX-License-Identifier: MIT
// Sharded weights of which the ranks of a node have one copy; nodes are parts of this one.
#include <chrono>
#include <thread>

#include "nn/layers/sufficient_factors.hpp"
#include "routes.hpp"
#include "shards_net.hpp"

using namespace isaribi;
using namespace isaribi::mpi_test;

namespace {

/// Of one copy on each node; ranks that come late find what they must, others wait for them.
void on_nodes(Communicator& world) {
  for (const int nodes : {1, 2, 3}) {
    if (nodes > world.size()) continue;
    const std::string what = std::to_string(nodes) + " nodes";
    compare(world, {.optimizer = momentum(), .nodes = nodes}, what);
    compare(world, {.bias = false, .optimizer = {.kind = "adamw"}, .nodes = nodes}, what);
    compare(world, {.parts = 3, .optimizer = momentum(), .nodes = nodes}, what + ", parts");
    comm::TunedRoute route = route_of(world, levels(world, "direct"));
    compare(world, {.optimizer = momentum(), .route = &route, .nodes = nodes}, what + ", route");
  }
}

/// Holds up one rank.
void pause_one(const Communicator& world, int which) {
  if (world.rank() == which % world.size())
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
}

core::Tensor copy_of(const core::Tensor& t) {
  core::Tensor copy(t.shape(), t.dtype());
  std::memcpy(copy.raw(), t.raw(), t.bytes());
  return copy;
}

/// Nobody writes where a late rank still reads, and nobody goes on before it has written.
void late_ranks(Communicator& world) {
  const auto alone = comm::make_serial_communicator();
  for (const int nodes : {1, 2}) {
    if (nodes > world.size()) continue;
    const Setup setup{.parts = 2, .optimizer = momentum(), .nodes = nodes};
    Net one({.parts = 2, .optimizer = momentum()}, *alone), many(setup, world);
    optim::WeightAverage average = many.average(), wanted = one.average();
    const core::Tensor &value = many.graph().parameters()[0]->value,
                       &of_one = one.graph().parameters()[0]->value;
    for (int step = 1; step <= 2; ++step) {
      const core::Tensor before = copy_of(value);
      one.run(step, setup.batch);
      many.run(step, setup.batch, [&](const std::string& part) {
        pause_one(world, step + (part == "forward" ? 1 : 0));
        if (part != "update") expect_same(value, before, "before all are through");
      });
      expect_same(many, one, "late ranks, step " + std::to_string(step));
      average.update(step);
      wanted.update(step);
    }
    for (const char* way : {"in", "out"}) {
      const core::Tensor before = copy_of(value);
      pause_one(world, 1);
      expect_same(value, before, "averages: before all are through");
      pause_one(world, 0);
      average.swap();
      wanted.swap();
      expect_same(value, of_one, std::string("averages, ") + way);
      expect(std::memcmp(value.raw(), before.raw(), value.bytes()) != 0, "they differ");
    }
  }
}

/// What gradients are made of stays until all ranks have read it.
void factors_are_kept(Communicator& world) {
  if (world.size() == 1) return;
  const auto backend = backend_of("reference");
  const std::int64_t ranks = world.size(), batch = 2 * ranks, outputs = 3 * ranks;
  nn::Sharding sharding = whatever_it_costs(world, batch);
  comm::NodeMemory memory(world, world.split_node(),
                          nn::layers::SufficientFactors::shared_bytes(sharding, 4, outputs, 4));
  sharding.node = &memory;
  nn::layers::SufficientFactors factors;
  factors.prepare(*backend, sharding, 4, outputs, core::DType::f32);
  nn::Pass pass;
  pass.global_batch = batch;
  pass.comm = &world;
  pass.backend = backend.get();
  for (int round = 0; round < 4; ++round) {
    const auto filled = [&](std::int64_t width, float first) {
      core::Tensor t({2, width}, core::DType::f32);
      for (std::int64_t i = 0; i < t.count(); ++i)
        t.data<float>()[i] = first + static_cast<float>(100 * round + 2 * world.rank() + i / width);
      return t;
    };
    pause_one(world, round);
    factors.start_inputs(pass, filled(4, 0));
    factors.start_gradients(pass, filled(outputs, 0.5F));
    const auto all = factors.finish(pass);
    expect(all.x.shape() == core::Shape{batch, 4} && all.dy.shape() == core::Shape{batch, 3},
           "shapes");
    pause_one(world, round + 1);
    for (std::int64_t i = 0; i < all.x.count(); ++i)
      expect_equal(all.x.data<float>()[i], static_cast<float>(100 * round + i / 4), "x of all");
    for (std::int64_t i = 0; i < all.dy.count(); ++i)
      expect_equal(all.dy.data<float>()[i], static_cast<float>(100 * round + i / 3) + 0.5F,
                   "dy of all");
  }
}

}  // namespace

int main(int argc, char** argv) {
  return run_cases(
      argc, argv,
      {{"on nodes", on_nodes}, {"late ranks", late_ranks}, {"factors are kept", factors_are_kept}});
}
