// SPDX-License-Identifier: MIT
// Adam with decoupled weight decay (Kingma & Ba 2015, Loshchilov & Hutter 2019).
#include "optim/kinds.hpp"

namespace isaribi::optim {
namespace {

class AdamW final : public Optimizer {
 public:
  AdamW(const OptimizerSettings& settings, Parameters parameters, api::Backend& backend)
      : settings_(settings),
        parameters_(parameters),
        backend_(backend),
        m_(zeros_like(parameters, backend)),
        v_(zeros_like(parameters, backend)) {}

  std::string_view kind() const override { return "adamw"; }

  std::string step(double lr, std::int64_t step) override {
    clip_gradients(parameters_, settings_.clip_norm, backend_);
    for (std::size_t i = 0; i < parameters_.size(); ++i) {
      const nn::Parameter& p = *parameters_[i];
      backend_.update().adam({.w = p.value,
                              .gradient = p.gradient,
                              .m = m_[i],
                              .v = v_[i],
                              .lr = lr,
                              .beta1 = settings_.beta1,
                              .beta2 = settings_.beta2,
                              .epsilon = settings_.epsilon,
                              .l2 = 0.0,
                              .decay = decay_of(settings_, p),
                              .step = step});
    }
    return "";
  }

  std::vector<core::NamedTensor> state() override {
    std::vector<core::NamedTensor> list;
    append_named(list, "adam_m", parameters_, m_);
    append_named(list, "adam_v", parameters_, v_);
    return list;
  }

 private:
  OptimizerSettings settings_;
  Parameters parameters_;
  api::Backend& backend_;
  std::vector<core::Tensor> m_, v_;
};

}  // namespace

std::unique_ptr<Optimizer> make_adamw(const OptimizerSettings& settings, Parameters parameters,
                                      api::Backend& backend) {
  return std::make_unique<AdamW>(settings, parameters, backend);
}

}  // namespace isaribi::optim
