// SPDX-License-Identifier: MIT
#include "step.hpp"

#include <algorithm>

#include "core/rng.hpp"
#include "core/timer.hpp"

namespace isaribi::perf {
namespace {

constexpr std::int64_t kClasses = 10;
constexpr double kRate = 1e-4;  // as of the peer; at 0.05 the autoencoder diverges

nn::LayerSpec linear(double features) {
  nn::LayerSpec spec;
  spec.kind = "linear";
  spec.numbers["features"] = features;
  return spec;
}

nn::LayerSpec relu() {
  nn::LayerSpec spec;
  spec.kind = "relu";
  return spec;
}

}  // namespace

nn::ModelSpec model_spec(const std::string& name) {
  nn::ModelSpec spec;
  spec.outputs = kClasses;
  if (name == "mlp4096") {
    spec.layers = {linear(4096), relu(), linear(4096), relu(), linear(kClasses)};
  } else {
    spec.preset = name;
  }
  return spec;
}

Step::Step(const std::string& model, std::int64_t batch, api::Backend& backend,
           comm::Communicator& comm)
    : backend_(backend),
      comm_(comm),
      global_batch_(batch),
      batch_(batch / comm.size()),
      autoencoder_(model == "autoencoder") {
  nn::GraphOptions options;
  options.max_batch = batch_;
  options.sharding = {.rank = comm.rank(), .ranks = comm.size(), .batch = batch};
  const core::Shape sample{28, 28, 1};
  if (const std::size_t bytes =
          nn::shared_bytes(model_spec(model), sample, backend, options, true)) {
    node_memory_ = std::make_unique<comm::NodeMemory>(comm, comm.split_node(), bytes);
    options.sharding.node = node_memory_.get();
  }
  graph_ = std::make_unique<nn::Graph>(model_spec(model), sample, backend, options);
  optim::OptimizerSettings settings;
  settings.lr = kRate;
  settings.weight_decay = 5e-4;
  optimizer_ =
      optim::make_optimizer(settings, {}, {.parameters = graph_->parameters()}, backend, comm_);
  plan_ = comm::make_allreduce_plan("mpi", comm_);
  reducer_ = std::make_unique<comm::BucketReducer>(comm_, *plan_, graph_->flat_gradient());

  comm.barrier();  // weights in node memory are whole
  const std::int64_t outputs = autoencoder_ ? sample.count() : kClasses;
  x_ = backend.make(sample.batched(batch_), core::DType::f32);
  ids_ = backend.make({batch_}, core::DType::i32);
  targets_ = backend.make({batch_, outputs}, core::DType::f32);
  dz_ = backend.make({batch_, outputs}, core::DType::f32);
  loss_ = backend.make({batch_}, core::DType::f64);
  const core::Philox key(1, core::Purpose::test);
  for (std::int64_t i = 0; i < x_.count(); ++i)
    x_.data<float>()[i] = key.uniform(0, static_cast<std::uint64_t>(comm.rank() * x_.count() + i));
  if (autoencoder_) backend.copy(x_.reshaped(targets_.shape()), targets_);
  for (std::int64_t n = 0; n < batch_; ++n) {
    ids_.data<std::int32_t>()[n] = static_cast<std::int32_t>(n);
    if (autoencoder_) continue;
    for (std::int64_t c = 0; c < kClasses; ++c)
      targets_.data<float>()[n * kClasses + c] = c == n % kClasses ? 1.0f : 0.0f;
  }
}

void Step::one(core::PhaseTimers* timers) {
  nn::Pass pass;
  pass.step = static_cast<std::uint64_t>(++steps_);
  pass.ids = ids_;
  pass.global_batch = global_batch_;
  pass.backend = &backend_;
  pass.comm = comm_.size() > 1 ? &comm_ : nullptr;
  pass.timers = timers;
  const core::Tensor& z = graph_->forward(pass, x_);
  const api::Loss loss{.z = z,
                       .targets = targets_,
                       .loss = loss_,
                       .dz = dz_,
                       .scale = 1.0 / static_cast<double>(global_batch_)};
  if (autoencoder_) {
    backend_.loss().bernoulli_cross_entropy(loss);
  } else {
    backend_.loss().softmax_cross_entropy(loss);
  }
  graph_->backward(pass, dz_, false, [&](std::int64_t begin, std::int64_t end) {
    reducer_->ready(begin, end);
    reducer_->progress();
  });
  reducer_->finish();
}

double Step::run() {
  one(nullptr);
  optimizer_->step(kRate, steps_);
  backend_.synchronize();
  double sum = 0;
  for (std::int64_t n = 0; n < batch_; ++n) sum += loss_.data<double>()[n];
  return sum / static_cast<double>(batch_);
}

std::vector<std::pair<std::string, double>> Step::profile_layers(int steps) {
  core::PhaseTimers timers;
  for (int i = 0; i < steps; ++i) {
    one(&timers);
    const auto scope = timers.phase("update");
    optimizer_->step(kRate, steps_);
  }
  std::vector<std::pair<std::string, double>> list;
  for (const auto& [name, seconds] : timers.seconds()) list.emplace_back(name, seconds / steps);
  std::stable_sort(list.begin(), list.end(),
                   [](const auto& a, const auto& b) { return a.second > b.second; });
  return list;
}

}  // namespace isaribi::perf
