// SPDX-License-Identifier: MIT
// Where a run keeps its weights in shards: in memory of the node, if there are some and it has
// room.
#include "train/sharding.hpp"

#include "backends/api/registry.hpp"
#include "backends/reference/register.hpp"
#include "full_node.hpp"
#include "harness.hpp"

using namespace isaribi;
using namespace isaribi::mpi_test;
using comm::Communicator;

namespace {

constexpr std::int64_t kFeatures = 512;

nn::ModelSpec model(double features) {
  nn::LayerSpec linear;
  linear.kind = "linear";
  linear.numbers["features"] = features;
  nn::ModelSpec spec;
  spec.layers = {linear};
  return spec;
}

std::unique_ptr<comm::NodeMemory> memory(Communicator& world, const train::Config& config,
                                         std::int64_t features = kFeatures) {
  core::Log log(world.rank());
  core::PhaseTimers timers;
  api::Registry registry;
  reference::register_backend(registry);
  const auto backend = registry.create("reference", {}, log);
  const train::Context context{world, *backend, log, timers};
  const nn::GraphOptions options{.sharding =
                                     train::sharding_of(config, world.rank(), world.size())};
  return train::node_memory_of(config, context, model(static_cast<double>(features)),
                               core::Shape{kFeatures}, options, nullptr);
}

train::Config sgd(const char* shards) {
  train::Config config;
  config.optimizer.kind = "sgd";
  config.data.batch = 16;
  config.comm.shards = shards;
  return config;
}

void where_they_lie(Communicator& world) {
  const bool several = world.size() > 1;
  const auto of_node = memory(world, sgd("auto"));
  expect((of_node != nullptr) == several, "of the node");
  // Weight and bias, and what their gradients are made of.
  if (several) of_node->allocate((kFeatures + 1) * kFeatures * 4 + 2 * 16 * kFeatures * 4);
  expect(memory(world, sgd("private")) == nullptr, "each rank");
  expect(memory(world, sgd("off")) == nullptr, "none in shards");
  expect(memory(world, sgd("auto"), 4) == nullptr, "no large layer");
  train::Config kfac = sgd("auto");
  kfac.optimizer.kind = "kfac";
  expect(memory(world, kfac) == nullptr, "gradients with owners");
}

void a_full_node(Communicator& world) {
  const NoRoom here;
  expect(memory(world, sgd("auto")) == nullptr, "a copy on each rank instead");
}

}  // namespace

int main(int argc, char** argv) {
  return run_cases(argc, argv, {{"where they lie", where_they_lie}, {"a full node", a_full_node}});
}
