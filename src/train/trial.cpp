// SPDX-License-Identifier: MIT
#include "train/trial.hpp"

namespace isaribi::train {
namespace {

using core::Tensor;

constexpr double kDifference = 1e-2;  // of the step: small against it, large against rounding

Tensor copy_of(const Tensor& t, api::Backend& backend, bool to_host) {
  const Tensor copy = to_host ? Tensor(t.shape(), t.dtype()) : backend.make(t.shape(), t.dtype());
  backend.copy(t, copy);
  backend.synchronize();
  return copy;
}

bool decays(const optim::OptimizerSettings& settings, const nn::Parameter& p) {
  return settings.decay_bias_and_norm || p.role == nn::Role::weight;
}

}  // namespace

TrialPoint::TrialPoint(const nn::Pass& pass, const DeviceBatch& batch, double scale,
                       nn::Graph& graph, const Objective& objective, const Context& context)
    : pass_(pass), batch_(batch), scale_(scale), graph_(graph), context_(context) {
  pass_.running_statistics = false;
  for (const nn::Parameter* p : graph.parameters())
    weights_.push_back(copy_of(p->value, context.backend, false));
  output_ = copy_of(objective.output(), context.backend, true);
  slopes_ = copy_of(objective.gradient(), context.backend, true);
}

optim::Trial TrialPoint::judge(double loss, double damping, const Config& config,
                               Objective& objective) {
  auto& ops = context_.backend.elementwise();
  graph_.set_tap(nullptr);
  const Tensor& moved = graph_.forward(pass_, batch_.images);
  const Tensor sums = Tensor::zeros({3}, core::DType::f64);
  double* s = sums.data<double>();
  s[0] = objective.evaluate(moved, batch_.images, batch_.labels, scale_, true).loss;

  // To w + e d, for the change of the output, and back to w + d.
  std::vector<Tensor> there;
  double square = 0, l2_slope = 0, l2_square = 0;
  for (std::size_t i = 0; i < weights_.size(); ++i) {
    const nn::Parameter& p = *graph_.parameters()[i];
    there.push_back(copy_of(p.value, context_.backend, false));
    const Tensor change = copy_of(p.value, context_.backend, false);
    ops.axpby({.alpha = -1.0, .x = weights_[i], .beta = 1.0, .y = change});
    const double length = ops.dot(change, change);
    square += length;
    if (decays(config.optimizer, p)) {
      l2_slope += ops.dot(weights_[i], change);
      l2_square += length;
    }
    context_.backend.copy(weights_[i], p.value);
    ops.axpby({.alpha = kDifference, .x = change, .beta = 1.0, .y = p.value});
  }
  Tensor change = copy_of(graph_.forward(pass_, batch_.images), context_.backend, true);
  for (std::size_t i = 0; i < there.size(); ++i)
    context_.backend.copy(there[i], graph_.parameters()[i]->value);
  context_.backend.synchronize();
  for (std::int64_t i = 0; i < change.count(); ++i) {
    if (change.dtype() == core::DType::f64) {
      change.data<double>()[i] =
          (change.data<double>()[i] - output_.data<double>()[i]) / kDifference;
    } else {
      change.data<float>()[i] = static_cast<float>(
          (static_cast<double>(change.data<float>()[i]) - output_.data<float>()[i]) / kDifference);
    }
  }
  const Objective::Quadratic q = objective.quadratic(output_, slopes_, change, scale_);
  s[1] = q.slope;
  s[2] = q.curvature;
  context_.comm.all_reduce(sums, comm::ReduceOp::sum);
  const double decay = config.optimizer.decoupled ? 0.0 : config.optimizer.weight_decay;
  return {
      .loss_change = (s[0] - loss) * scale_ + decay * (l2_slope + 0.5 * l2_square),
      .model_change = s[1] * scale_ + decay * l2_slope + 0.5 * (s[2] * scale_ + damping * square)};
}

}  // namespace isaribi::train
