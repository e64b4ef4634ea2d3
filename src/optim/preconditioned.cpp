// SPDX-License-Identifier: MIT
// Descent along the directions of a preconditioner: U = P^-1 (grad + l2 w), shortened by nu =
// min(1, sqrt(kappa / |lr^2 <U, grad>|)) so that the KL divergence of the step stays near kappa
// (Martens & Grosse 2015; Ba et al. 2017), then momentum on U, decoupled decay, and weights before
// batch norm brought back to their length (Osawa et al. 2019). Or, with kfac/step_rule =
// "quadratic_model", both the length of U and the momentum as step_model.hpp says.
#include <fmt/format.h>

#include <cmath>

#include "core/error.hpp"
#include "optim/kinds.hpp"
#include "optim/step_model.hpp"

namespace isaribi::optim {
namespace {

class Preconditioned final : public Optimizer {
 public:
  Preconditioned(const OptimizerSettings& settings, const KfacSettings& kfac,
                 const Subject& subject, std::unique_ptr<Preconditioner> preconditioner,
                 api::Backend& backend)
      : settings_(settings),
        kfac_(kfac),
        parameters_(subject.parameters),
        backend_(backend),
        preconditioner_(std::move(preconditioner)) {
    if (settings.momentum > 0) velocity_ = zeros_like(parameters_, backend);
    if (!settings.decoupled) {
      std::vector<double> decay;
      for (const nn::Parameter* p : parameters_) decay.push_back(decay_of(settings_, *p));
      adds_decay_ = !preconditioner_->add_decay(decay);
    }
    if (!kfac.rescale_weights) return;
    for (const nn::CurvedLayer& layer : subject.layers) {
      if (layer.normalised) rescaled_.push_back(layer.curvature->weight);
    }
  }

  std::string_view kind() const override { return settings_.kind; }
  Listening begin_step(const StepInfo& info) override { return preconditioner_->begin_step(info); }
  std::vector<int> gradient_owners() const override { return preconditioner_->gradient_owners(); }
  bool wants_trial(std::int64_t step) const override { return preconditioner_->wants_trial(step); }
  void judge(const Trial& trial) override { preconditioner_->judge(trial); }
  bool wants_model() const override { return kfac_.step_rule == "quadratic_model"; }
  void set_model(LossModel* model) override { model_ = model; }
  double damping() const override { return preconditioner_->damping(); }
  std::vector<CurvatureReport> report() override { return preconditioner_->report(); }
  std::vector<CurvatureDump> dump() override { return preconditioner_->dump(); }
  void gather_state() override { preconditioner_->gather_state(); }
  void adopt_state() override;
  std::vector<core::NamedTensor> state() override;
  std::optional<CurvatureCost> cost() override;

  std::string step(double lr, std::int64_t step) override;
  bool refuse() override {
    preconditioner_->discard();
    return become_careful();
  }

 private:
  bool become_careful();
  /// By what U and the velocity are multiplied.
  struct Factors {
    double direction = 1, momentum = 0;
  };
  double shorten(double lr, double product);
  Factors fit(double lr, const Direction& direction);
  LossModel::Plane damped_plane(const Direction& direction);
  void update(double lr, const Direction& direction, const Factors& factors);
  void rescale();
  double momentum(double lr) const {
    return settings_.momentum_follows_lr ? settings_.momentum * lr / settings_.lr
                                         : settings_.momentum;
  }

  OptimizerSettings settings_;
  KfacSettings kfac_;
  Parameters parameters_;
  api::Backend& backend_;
  std::unique_ptr<Preconditioner> preconditioner_;
  std::vector<core::Tensor> velocity_;
  std::vector<nn::Parameter*> rescaled_;
  bool adds_decay_ = false;     ///< to the gradients, for the preconditioner to read
  LossModel* model_ = nullptr;  ///< of the step to come
  core::Tensor refusals_ = core::Tensor::zeros({1}, core::DType::f64);  ///< in a row; part of state
  CurvatureCost cost_;
};

std::string Preconditioned::step(double lr, std::int64_t step) {
  for (const nn::Parameter* p : parameters_) {
    const double decay = adds_decay_ ? decay_of(settings_, *p) : 0.0;
    if (decay > 0)
      backend_.elementwise().axpby({.alpha = decay, .x = p->value, .beta = 1.0, .y = p->gradient});
  }
  const Direction direction = preconditioner_->precondition(step);
  if (!direction.refused.empty()) return direction.refused;
  const Factors factors =
      wants_model() ? fit(lr, direction) : Factors{shorten(lr, direction.product), momentum(lr)};
  update(lr, direction, factors);
  rescale();
  preconditioner_->accepted();
  refusals_.data<double>()[0] = 0;
  return "";
}

bool Preconditioned::become_careful() {
  preconditioner_->refused();
  ++cost_.refused;
  return ++refusals_.data<double>()[0] <= static_cast<double>(kfac_.max_refusals);
}

double Preconditioned::shorten(double lr, double product) {
  if (kfac_.kl_clip == 0) return 1;
  const double divergence = std::abs(lr * lr * product);
  const double factor = divergence > 0 ? std::min(1.0, std::sqrt(kfac_.kl_clip / divergence)) : 1;
  if (factor == 1) return 1;
  ++cost_.clipped;
  cost_.clip = std::min(cost_.clip, factor);
  return factor;
}

// The model along U and the velocity V: Gauss-Newton of the loss, and what damping and L2 decay add
// (lambda holds the decay, too).
LossModel::Plane Preconditioned::damped_plane(const Direction& direction) {
  auto& ops = backend_.elementwise();
  double uu = 0, uv = 0, vv = 0, decay_slope = 0;
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    const core::Tensor& u = direction.tensors[i];
    uu += ops.dot(u, u);
    if (velocity_.empty()) continue;
    uv += ops.dot(u, velocity_[i]);
    vv += ops.dot(velocity_[i], velocity_[i]);
    const double decay = settings_.decoupled ? 0.0 : decay_of(settings_, *parameters_[i]);
    if (decay > 0) decay_slope += decay * ops.dot(parameters_[i]->value, velocity_[i]);
  }
  LossModel::Plane plane =
      vv > 0 ? model_->along(direction.tensors, velocity_) : model_->along(direction.tensors, {});
  const double lambda = preconditioner_->damping();
  plane.slope_p = direction.product;
  plane.slope_q += decay_slope;
  plane.pp += lambda * uu;
  plane.pq += lambda * uv;
  plane.qq += lambda * vv;
  return plane;
}

// alpha and mu. The trust region bounds the model's own divergence, d^T F d, here with the damping.
Preconditioned::Factors Preconditioned::fit(double lr, const Direction& direction) {
  if (model_ == nullptr) throw core::InternalError("the quadratic model was not set");
  const StepSizes best = best_step(damped_plane(direction));
  ++cost_.modelled;
  cost_.step_size = best.alpha;
  cost_.step_momentum = best.momentum;
  // At the minimum d^T (F + lambda I) d = -2 M(d).
  const double divergence = -2 * best.change * lr * lr;
  double factor = 1;
  if (kfac_.kl_clip > 0 && divergence > kfac_.kl_clip) {
    factor = std::sqrt(kfac_.kl_clip / divergence);
    ++cost_.clipped;
    cost_.clip = std::min(cost_.clip, factor);
  }
  return {factor * best.alpha, factor * best.momentum};
}

void Preconditioned::update(double lr, const Direction& direction, const Factors& factors) {
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    const nn::Parameter& p = *parameters_[i];
    backend_.update().sgd({.w = p.value,
                           .gradient = direction.tensors[i],
                           .velocity = velocity_.empty() ? core::Tensor() : velocity_[i],
                           .lr = lr,
                           .momentum = velocity_.empty() ? 0.0 : factors.momentum,
                           .decay = settings_.decoupled ? decay_of(settings_, p) : 0.0,
                           .nesterov = settings_.nesterov,
                           .scale = factors.direction});
  }
}

// w = sqrt(2 outputs) w / |w|: a batch norm follows, so only the length changes, and with it the
// effective learning rate.
void Preconditioned::rescale() {
  for (nn::Parameter* p : rescaled_) {
    const double norm = std::sqrt(backend_.elementwise().dot(p->value, p->value));
    const double length = std::sqrt(2.0 * static_cast<double>(p->shape[0]));
    backend_.elementwise().axpby(
        {.alpha = length / (norm + 1e-9), .x = p->value, .beta = 0.0, .y = p->value});
  }
}

std::vector<core::NamedTensor> Preconditioned::state() {
  std::vector<core::NamedTensor> list = preconditioner_->state();
  append_named(list, "momentum", parameters_, velocity_);
  list.push_back({"refusals", refusals_});
  return list;
}

void Preconditioned::adopt_state() {
  preconditioner_->adopt_state();
}

std::optional<CurvatureCost> Preconditioned::cost() {
  CurvatureCost cost = std::exchange(cost_, {});
  preconditioner_->add_cost(cost);
  return cost;
}

}  // namespace

void check_preconditioned(const OptimizerSettings& settings) {
  if (settings.clip_norm > 0) {
    throw core::UsageError(
        fmt::format("optimizer/clip_norm does not go with optimizer/kind = \"{}\"", settings.kind),
        "kfac/kl_clip bounds the step");
  }
}

std::unique_ptr<Optimizer> make_preconditioned(const OptimizerSettings& settings,
                                               const KfacSettings& kfac, const Subject& subject,
                                               std::unique_ptr<Preconditioner> preconditioner,
                                               api::Backend& backend) {
  return std::make_unique<Preconditioned>(settings, kfac, subject, std::move(preconditioner),
                                          backend);
}

}  // namespace isaribi::optim
