// SPDX-License-Identifier: MIT
#include "train/trial.hpp"

namespace isaribi::train {
namespace {

using core::Tensor;

/// Length of a finite difference as a part of the direction: small against it, large against the
/// rounding of the output.
double difference_of(core::DType type) {
  return type == core::DType::f64 ? 1e-5 : 1e-2;
}

/// x = (x - y) / length.
template <typename T>
void take_difference(const Tensor& x, const Tensor& y, double length) {
  T* to = x.data<T>();
  const T* from = y.data<T>();
  for (std::int64_t i = 0; i < x.count(); ++i)
    to[i] = static_cast<T>((static_cast<double>(to[i]) - from[i]) / length);
}

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
    : pass_(pass),
      batch_(batch),
      scale_(scale),
      graph_(graph),
      objective_(objective),
      context_(context) {
  pass_.running_statistics = false;
  for (const nn::Parameter* p : graph.parameters())
    weights_.push_back(copy_of(p->value, context.backend, false));
  output_ = copy_of(objective.output(), context.backend, true);
  slopes_ = copy_of(objective.gradient(), context.backend, true);
}

void TrialPoint::set_weights(std::span<const Tensor> values) {
  for (std::size_t i = 0; i < values.size(); ++i)
    context_.backend.copy(values[i], graph_.parameters()[i]->value);
  context_.backend.synchronize();
}

// J d = (z(w + e d) - z(w)) / e, on the host; the weights are w before and after.
Tensor TrialPoint::output_change(std::span<const Tensor> direction) {
  graph_.set_tap(nullptr);
  const double length = difference_of(output_.dtype());
  for (std::size_t i = 0; i < direction.size(); ++i) {
    context_.backend.elementwise().axpby(
        {.alpha = length, .x = direction[i], .beta = 1.0, .y = graph_.parameters()[i]->value});
  }
  const Tensor change = copy_of(graph_.forward(pass_, batch_.images), context_.backend, true);
  set_weights(weights_);
  if (change.dtype() == core::DType::f64) {
    take_difference<double>(change, output_, length);
  } else {
    take_difference<float>(change, output_, length);
  }
  return change;
}

optim::LossModel::Plane TrialPoint::along(std::span<const Tensor> p, std::span<const Tensor> q) {
  const Tensor of_p = output_change(p), of_q = q.empty() ? of_p : output_change(q);
  const Plane here = objective_.quadratic(output_, slopes_, of_p, of_q, scale_);
  const Tensor sums = Tensor::zeros({5}, core::DType::f64);
  double* s = sums.data<double>();
  s[0] = here.slope_p;
  s[1] = here.pp;
  if (!q.empty()) {
    s[2] = here.slope_q;
    s[3] = here.pq;
    s[4] = here.qq;
  }
  context_.comm.all_reduce(sums, comm::ReduceOp::sum);
  for (int i = 0; i < 5; ++i) s[i] *= scale_;
  return {.slope_p = s[0], .slope_q = s[2], .pp = s[1], .pq = s[3], .qq = s[4]};
}

optim::Trial TrialPoint::judge(double loss, double damping, const Config& config,
                               Objective& objective) {
  auto& ops = context_.backend.elementwise();
  graph_.set_tap(nullptr);
  const Tensor& moved = graph_.forward(pass_, batch_.images);
  const Tensor sums = Tensor::zeros({1}, core::DType::f64);
  sums.data<double>()[0] =
      objective.evaluate(moved, batch_.images, batch_.labels, scale_, true).loss;
  context_.comm.all_reduce(sums, comm::ReduceOp::sum);

  std::vector<Tensor> there, step;
  double square = 0, l2_slope = 0, l2_square = 0;
  for (std::size_t i = 0; i < weights_.size(); ++i) {
    const nn::Parameter& p = *graph_.parameters()[i];
    there.push_back(copy_of(p.value, context_.backend, false));
    step.push_back(copy_of(p.value, context_.backend, false));
    ops.axpby({.alpha = -1.0, .x = weights_[i], .beta = 1.0, .y = step[i]});
    const double length = ops.dot(step[i], step[i]);
    square += length;
    if (!decays(config.optimizer, p)) continue;
    l2_slope += ops.dot(weights_[i], step[i]);
    l2_square += length;
  }
  set_weights(weights_);
  const Plane model = along(step, {});
  set_weights(there);
  const double decay = config.optimizer.decoupled ? 0.0 : config.optimizer.weight_decay;
  return {.loss_change =
              (sums.data<double>()[0] - loss) * scale_ + decay * (l2_slope + 0.5 * l2_square),
          .model_change = model.slope_p + decay * l2_slope + 0.5 * (model.pp + damping * square)};
}

}  // namespace isaribi::train
