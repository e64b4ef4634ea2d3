// SPDX-License-Identifier: MIT
// Stochastic gradient descent with momentum and Nesterov's form of it; weight decay as an L2 term
// of the gradient, or decoupled.
#include "optim/kinds.hpp"

namespace isaribi::optim {
namespace {

class Sgd final : public Optimizer {
 public:
  Sgd(const OptimizerSettings& settings, Parameters parameters, api::Backend& backend)
      : settings_(settings), parameters_(parameters), backend_(backend) {
    if (settings.momentum > 0) velocity_ = zeros_like(parameters, backend);
  }

  std::string_view kind() const override { return "sgd"; }

  std::string step(double lr, std::int64_t) override {
    clip_gradients(parameters_, settings_.clip_norm, backend_);
    for (std::size_t i = 0; i < parameters_.size(); ++i) {
      const nn::Parameter& p = *parameters_[i];
      const double decay = decay_of(settings_, p);
      backend_.update().sgd({.w = p.value,
                             .gradient = p.gradient,
                             .velocity = velocity_.empty() ? core::Tensor() : velocity_[i],
                             .lr = lr,
                             .momentum = settings_.momentum,
                             .l2 = settings_.decoupled ? 0.0 : decay,
                             .decay = settings_.decoupled ? decay : 0.0,
                             .nesterov = settings_.nesterov});
    }
    return "";
  }

  std::vector<core::NamedTensor> state() override {
    std::vector<core::NamedTensor> list;
    append_named(list, "momentum", parameters_, velocity_);
    return list;
  }

 private:
  OptimizerSettings settings_;
  Parameters parameters_;
  api::Backend& backend_;
  std::vector<core::Tensor> velocity_;
};

}  // namespace

std::unique_ptr<Optimizer> make_sgd(const OptimizerSettings& settings, Parameters parameters,
                                    api::Backend& backend) {
  return std::make_unique<Sgd>(settings, parameters, backend);
}

}  // namespace isaribi::optim
