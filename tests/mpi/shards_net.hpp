// SPDX-License-Identifier: MIT
// A network on some ranks, every weight of it in shards, beside the same one on one rank.
#pragma once

#include <cstring>
#include <functional>
#include <memory>
#include <string>

#include "backends/api/registry.hpp"
#include "backends/reference/register.hpp"
#include "backends/simd/register.hpp"
#include "comm/node_memory.hpp"
#include "comm/rank_slice.hpp"
#include "comm/serial_communicator.hpp"
#include "core/rng.hpp"
#include "harness.hpp"
#include "nn/graph.hpp"
#include "optim/optimizer.hpp"

namespace isaribi::mpi_test {

using comm::Communicator;

inline constexpr std::int64_t kInputs = 40, kOutputs = 5;

inline nn::ModelSpec model(bool bias) {
  nn::ModelSpec spec;
  for (const std::int64_t features : {std::int64_t{48}, std::int64_t{37}, kOutputs}) {
    if (!spec.layers.empty()) {
      nn::LayerSpec relu;
      relu.kind = "relu";
      spec.layers.push_back(relu);
    }
    nn::LayerSpec linear;
    linear.kind = "linear";
    linear.numbers["features"] = static_cast<double>(features);
    linear.numbers["bias"] = bias ? 1 : 0;
    spec.layers.push_back(linear);
  }
  return spec;
}

inline std::unique_ptr<api::Backend> backend_of(const std::string& name) {
  core::Log log(1);
  api::Registry registry;
  reference::register_backend(registry);
  simd::register_backend(registry);
  return registry.create(name, {}, log);
}

/// What one run is told.
struct Setup {
  std::string backend = "simd";
  bool bias = true;
  std::int64_t batch = 11;
  int parts = 1;  ///< micro-batches
  optim::OptimizerSettings optimizer = {};
  comm::OwnerRoute* route = nullptr;
  core::PhaseTimers* timers = nullptr;
  int nodes = 0;  ///< that have one copy each of what is in shards; 0: each rank has one
};

/// Every weight in shards where there are several ranks.
inline nn::Sharding whatever_it_costs(const Communicator& comm, std::int64_t batch) {
  return {.rank = comm.rank(),
          .ranks = comm.size(),
          .batch = batch,
          .gradient_bytes = 1 << 20,
          .smallest = 1,
          .rows = 1};
}

/// A network on some ranks, with every weight in shards where there are several.
class Net {
 public:
  Net(const Setup& setup, Communicator& comm)
      : setup_(setup), comm_(comm), backend_(backend_of(setup.backend)) {
    nn::GraphOptions options{
        .max_batch = setup.batch, .seed = 3, .sharding = whatever_it_costs(comm, setup.batch)};
    if (setup.nodes > 0) {
      node_memory_ = std::make_unique<comm::NodeMemory>(
          comm, comm.split(comm.rank() * setup.nodes / comm.size()),
          nn::shared_bytes(model(setup.bias), core::Shape{kInputs}, *backend_, options,
                           setup.nodes == 1),
          setup.route);
      options.sharding.node = node_memory_.get();
    }
    graph_ =
        std::make_unique<nn::Graph>(model(setup.bias), core::Shape{kInputs}, *backend_, options);
    comm.barrier();  // values in node memory are whole
    optimizer_ = optim::make_optimizer(
        setup.optimizer, {},
        {.parameters = graph_->parameters(), .route = setup.route, .timers = setup.timers},
        *backend_, comm_);
  }

  nn::Graph& graph() { return *graph_; }
  optim::Optimizer& optimizer() { return *optimizer_; }
  optim::WeightAverage average() { return {{.kind = "swa"}, graph_->parameters(), *backend_}; }

  /// Step `step` on samples that depend on it; `batch` of all ranks.
  void run(
      int step, std::int64_t batch,
      const std::function<void(const std::string& part)>& after = [](const std::string&) {}) {
    const auto [begin, end] = comm::rank_slice(batch, comm_.rank(), comm_.size());
    for (int part = 0; part < setup_.parts; ++part) {
      const core::Philox key(step, core::Purpose::test, static_cast<std::uint64_t>(part));
      const auto drawn = [&](std::int64_t width, std::uint64_t stream) {
        core::Tensor t({end - begin, width}, core::DType::f32);
        for (std::int64_t i = 0; i < t.count(); ++i)
          t.data<float>()[i] = static_cast<float>(
              2 * key.uniform(stream, static_cast<std::uint64_t>(begin * width + i)) - 1);
        return t;
      };
      nn::Pass pass;
      pass.global_batch = batch;
      pass.comm = &comm_;
      pass.route = setup_.route;
      pass.timers = setup_.timers;
      pass.backend = backend_.get();
      const core::Tensor y = graph_->forward(pass, drawn(kInputs, 1)), dy = drawn(kOutputs, 2);
      for (std::int64_t i = 0; i < y.count(); ++i) dy.data<float>()[i] += y.data<float>()[i];
      after("forward");
      graph_->backward(pass, dy, part > 0, nullptr);
      after("backward");
    }
    optimizer_->step(0.05, step);
    after("update");
  }

 private:
  Setup setup_;
  Communicator& comm_;
  std::unique_ptr<api::Backend> backend_;
  std::unique_ptr<comm::NodeMemory> node_memory_;
  std::unique_ptr<nn::Graph> graph_;
  std::unique_ptr<optim::Optimizer> optimizer_;
};

inline void expect_same(const core::Tensor& got, const core::Tensor& want,
                        const std::string& what) {
  expect(got.shape() == want.shape() && std::memcmp(got.raw(), want.raw(), want.bytes()) == 0,
         what + ": the bits of one rank");
}

inline void expect_same(Net& got, Net& want, const std::string& what) {
  for (std::size_t i = 0; i < want.graph().parameters().size(); ++i) {
    const nn::Parameter& p = *want.graph().parameters()[i];
    expect_same(got.graph().parameters()[i]->value, p.value, what + ": " + p.name);
  }
  got.optimizer().gather_state();
  const auto state = got.optimizer().state(), wanted = want.optimizer().state();
  expect_equal(state.size(), wanted.size(), what + ": tensors of state");
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    expect_equal(state[i].name, wanted[i].name, what);
    expect_same(state[i].tensor, wanted[i].tensor, what + ": " + state[i].name);
  }
}

/// Three steps, the last one on a smaller batch.
inline void compare(Communicator& world, const Setup& setup, const std::string& what) {
  const auto alone = comm::make_serial_communicator();
  Net one(setup, *alone), many(setup, world);
  expect_equal(many.graph().flat_gradient().count(),
               world.size() == 1 ? one.graph().flat_gradient().count() : std::int64_t{0},
               what + ": gradients that are summed");
  for (int step = 1; step <= 3; ++step) {
    const std::int64_t batch = step == 3 ? 3 : setup.batch;
    one.run(step, batch);
    many.run(step, batch);
    expect_same(many, one, what + ", step " + std::to_string(step));
  }
}

inline optim::OptimizerSettings momentum() {
  return {.kind = "sgd", .momentum = 0.9, .nesterov = true, .weight_decay = 0.01};
}

}  // namespace isaribi::mpi_test
