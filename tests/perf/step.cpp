// SPDX-License-Identifier: MIT
#include "step.hpp"

#include <cstdio>

#include "core/rng.hpp"
#include "core/timer.hpp"

namespace isaribi::perf {
namespace {

constexpr std::int64_t kClasses = 10;

}  // namespace

Step::Step(const std::string& model, std::int64_t batch, api::Backend& backend)
    : backend_(backend), batch_(batch) {
  nn::ModelSpec spec;
  spec.preset = model;
  spec.outputs = kClasses;
  nn::GraphOptions options;
  options.max_batch = batch;
  const core::Shape sample{28, 28, 1};
  graph_ = std::make_unique<nn::Graph>(spec, sample, backend, options);
  optim::OptimizerSettings settings;
  settings.lr = 0.05;
  settings.weight_decay = 5e-4;
  optimizer_ =
      optim::make_optimizer(settings, {}, {.parameters = graph_->parameters()}, backend, *comm_);

  x_ = backend.make(sample.batched(batch), core::DType::f32);
  ids_ = backend.make({batch}, core::DType::i32);
  targets_ = backend.make({batch, kClasses}, core::DType::f32);
  dz_ = backend.make({batch, kClasses}, core::DType::f32);
  loss_ = backend.make({batch}, core::DType::f64);
  const core::Philox key(1, core::Purpose::test);
  for (std::int64_t i = 0; i < x_.count(); ++i) {
    x_.data<float>()[i] = 2.0f * key.uniform(0, static_cast<std::uint64_t>(i)) - 1.0f;
  }
  for (std::int64_t n = 0; n < batch; ++n) {
    ids_.data<std::int32_t>()[n] = static_cast<std::int32_t>(n);
    for (std::int64_t c = 0; c < kClasses; ++c) {
      targets_.data<float>()[n * kClasses + c] = c == n % kClasses ? 1.0f : 0.0f;
    }
  }
}

double Step::run() {
  nn::Pass pass;
  pass.step = static_cast<std::uint64_t>(++steps_);
  pass.ids = ids_;
  pass.global_batch = batch_;
  pass.backend = &backend_;
  const core::Tensor& z = graph_->forward(pass, x_);
  backend_.loss().softmax_cross_entropy({.z = z,
                                         .targets = targets_,
                                         .loss = loss_,
                                         .dz = dz_,
                                         .scale = 1.0 / static_cast<double>(batch_)});
  graph_->backward(pass, dz_, false, {});
  optimizer_->step(0.05, steps_);
  backend_.synchronize();
  double sum = 0;
  for (std::int64_t n = 0; n < batch_; ++n) sum += loss_.data<double>()[n];
  return sum / static_cast<double>(batch_);
}

double Step::multiply_adds() const {
  double sum = 0;
  for (const auto& layer : graph_->layers()) sum += layer->multiply_adds();
  return sum;
}

void Step::profile(int steps) {
  core::PhaseTimers timers;
  for (int i = 0; i < steps; ++i) {
    nn::Pass pass;
    pass.step = static_cast<std::uint64_t>(++steps_);
    pass.ids = ids_;
    pass.global_batch = batch_;
    pass.backend = &backend_;
    pass.timers = &timers;
    graph_->forward(pass, x_);
    graph_->backward(pass, dz_, false, {});
    const auto scope = timers.phase("update");
    optimizer_->step(0.05, steps_);
  }
  for (const auto& [name, seconds] : timers.seconds()) {
    std::printf("profile %s %.1f us\n", name.c_str(), 1e6 * seconds / steps);
  }
  std::fflush(stdout);
}

}  // namespace isaribi::perf
