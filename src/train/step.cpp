// SPDX-License-Identifier: MIT
#include "train/step.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "comm/agreement.hpp"
#include "comm/bucket_reducer.hpp"
#include "comm/owner_exchange.hpp"
#include "comm/rank_slice.hpp"
#include "core/rng.hpp"

namespace isaribi::train {
namespace {

/// 32 bits that depend on which sample stands where in the global batch; their sum does not depend
/// on the ranks.
double order_hash(std::int64_t part, std::int64_t position, std::int32_t id) {
  const core::Words4 h =
      core::philox4x32({{static_cast<std::uint32_t>(id), static_cast<std::uint32_t>(position),
                         static_cast<std::uint32_t>(part), 0}},
                       0, 0);
  return h.w[0];
}

/// Where each piece of the flat gradient is needed, in its order.
std::vector<comm::ScatterReducer::Range> ranges_of(const nn::Graph& graph,
                                                   const std::vector<int>& owners) {
  std::vector<comm::ScatterReducer::Range> ranges;
  const auto* base = static_cast<const std::byte*>(graph.flat_gradient().raw());
  for (const nn::Parameter* p : graph.parameters()) {
    const auto bytes = static_cast<const std::byte*>(p->gradient.raw()) - base;
    const std::int64_t begin =
        bytes / static_cast<std::int64_t>(core::size_of(p->gradient.dtype()));
    ranges.push_back({begin, begin + p->gradient.count(), owners[p->id]});
  }
  std::sort(ranges.begin(), ranges.end(),
            [](const auto& a, const auto& b) { return a.begin < b.begin; });
  return ranges;
}

std::unique_ptr<comm::GradientReducer> make_reducer(const Config& config, const Context& context,
                                                    const nn::Graph& graph,
                                                    const optim::Optimizer& optimizer,
                                                    comm::AllReducePlan& plan) {
  const auto bucket = static_cast<std::size_t>(config.comm.bucket_kb) * 1024;
  const std::vector<int> owners = optimizer.gradient_owners();
  if (owners.empty())
    return std::make_unique<comm::BucketReducer>(context.comm, plan, graph.flat_gradient(), bucket,
                                                 config.comm.error_feedback);
  return std::make_unique<comm::ScatterReducer>(
      context.comm, graph.flat_gradient(), ranges_of(graph, owners), bucket, plan.owner_route());
}

bool is_listed(const std::vector<double>& steps, std::int64_t step) {
  return std::find(steps.begin(), steps.end(), static_cast<double>(step)) != steps.end();
}

}  // namespace

Step::Step(const Config& config, const Context& context, const RunInputs& inputs,
           data::Loader& loader, nn::Graph& graph, Objective& objective,
           optim::Optimizer& optimizer)
    : config_(config),
      context_(context),
      inputs_(inputs),
      loader_(loader),
      graph_(graph),
      objective_(objective),
      optimizer_(optimizer),
      feed_(context.backend),
      gradients_(make_reducer(config, context, graph, optimizer, *inputs.reduction)),
      micro_(config.train.micro_batches) {}

nn::Pass Step::pass_for(const data::Batch& batch, const DeviceBatch& on_device) const {
  nn::Pass pass;
  pass.seed = config_.run.seed;
  pass.step = static_cast<std::uint64_t>(step_);
  pass.ids = on_device.ids;
  pass.global_batch = batch.global_size;
  pass.comm = &context_.comm;
  pass.route = inputs_.reduction->owner_route();
  pass.backend = &context_.backend;
  pass.timers = &context_.timers;
  return pass;
}

// The backward passes that form a Fisher which is not the gradient's own.
void Step::hear_fisher(const nn::Pass& pass) {
  if (listening_.passes == 0) return;
  auto phase = context_.timers.phase("fisher");
  nn::Pass silent = pass;
  silent.parameter_gradients = false;
  const core::Philox key(config_.run.seed, core::Purpose::fisher,
                         static_cast<std::uint64_t>(step_));
  const double scale = 1.0 / static_cast<double>(pass.global_batch * micro_);
  for (std::int64_t k = 0; k < listening_.passes; ++k) {
    graph_.backward(silent, objective_.fisher_vectors(listening_.mode, k, pass.ids, key, scale),
                    false, nullptr);
  }
  graph_.set_tap(nullptr);  // the pass of the gradient is not heard
}

void Step::forward_backward(const data::Batch& batch, std::int64_t part, StepSums& sums) {
  const std::int64_t first =
      comm::rank_slice(batch.global_size, context_.comm.rank(), context_.comm.size()).first;
  for (std::int64_t i = 0; i < batch.ids.count(); ++i) {
    sums.order += order_hash(part, first + i, batch.ids.data<std::int32_t>()[i]);
  }
  const DeviceBatch on_device = feed_.load(batch);
  const nn::Pass pass = pass_for(batch, on_device);
  const double scale = 1.0 / static_cast<double>(batch.global_size * micro_);
  if (part == 0) {
    listening_ = optimizer_.begin_step(
        {.step = step_ + 1, .samples = batch.global_size * micro_, .parts = micro_});
  }
  graph_.set_tap(listening_.tap);
  {
    auto phase = context_.timers.phase("forward");
    const core::Tensor& out = graph_.forward(pass, on_device.images);
    const Objective::Sums s =
        objective_.evaluate(out, on_device.images, on_device.labels, scale, true);
    sums.loss += s.loss;
    sums.correct += s.correct;
    sums.samples += static_cast<double>(on_device.images.shape()[0]);
  }
  if (optimizer_.wants_model() || optimizer_.wants_trial(step_ + 1))
    trial_.emplace(pass, on_device, scale, graph_, objective_, context_);
  hear_fisher(pass);
  auto phase = context_.timers.phase("backward");
  const bool last = part == micro_ - 1;
  graph_.backward(pass, objective_.gradient(), part > 0, [&](std::int64_t begin, std::int64_t end) {
    if (!last) return;
    gradients_->ready(begin, end);
    gradients_->progress();
  });
}

void Step::sum_over_ranks(StepSums& sums) {
  auto phase = context_.timers.phase("communicate");
  core::Tensor agreed = core::Tensor::zeros({5}, core::DType::f64);
  double* a = agreed.data<double>();
  a[0] = sums.loss;
  a[1] = sums.correct;
  a[2] = sums.samples;
  a[3] = inputs_.stop_reason && !inputs_.stop_reason().empty() ? 1.0 : 0.0;
  a[4] = sums.order;
  gradients_->finish();
  context_.comm.all_reduce(agreed, comm::ReduceOp::sum);
  sums = {.loss = a[0],
          .correct = a[1],
          .samples = a[2],
          .order = a[4],
          .stop = a[3] > 0,
          .refused = {}};
}

void Step::refuse(StepSums& sums) {
  // What a refused gradient lost must not come back with the next one.
  const core::Tensor residual = gradients_->residual();
  if (residual.defined()) std::memset(residual.raw(), 0, residual.bytes());
  if (optimizer_.refuse()) return;
  throw core::NumericalError(
      sums.refused + " at step " + std::to_string(step_ + 1) + "; the step was refused",
      "the last good checkpoint is kept: lower optimizer/lr, lengthen schedule/warmup_epochs, set "
      "optimizer/clip_norm or, for second-order kinds, raise kfac/damping");
}

void Step::update(double lr, StepSums& sums) {
  auto phase = context_.timers.phase("update");
  if (!std::isfinite(sums.loss)) {
    sums.refused = "the loss is " + std::to_string(sums.loss);
    return refuse(sums);
  }
  optimizer_.set_model(trial_ ? &*trial_ : nullptr);
  sums.refused = optimizer_.step(lr, step_ + 1);
  if (!sums.refused.empty()) return refuse(sums);
  if (trial_ && optimizer_.wants_trial(step_ + 1))
    optimizer_.judge(trial_->judge(sums.loss, optimizer_.damping(), config_, objective_));
  if (dump_) dump_->write(config_.run.dir, optimizer_, context_);
}

StepSums Step::run(std::int64_t step, double lr) {
  step_ = step;
  trial_.reset();
  dump_.reset();
  if (is_listed(config_.diagnostics.dump_steps, step)) dump_.emplace(graph_, context_, step);
  StepSums sums;
  for (std::int64_t part = 0; part < micro_; ++part) {
    const data::Batch* batch;
    {
      auto phase = context_.timers.phase("data");
      batch = loader_.next();
    }
    if (dump_) dump_->add(*batch, context_);
    forward_backward(*batch, part, sums);
  }
  sum_over_ranks(sums);
  update(lr, sums);
  return sums;
}

}  // namespace isaribi::train
