// SPDX-License-Identifier: MIT
// Stochastic gradient descent with momentum and Nesterov's form of it; weight decay as an L2 term
// of the gradient, or decoupled.
#include "optim/kinds.hpp"
#include "optim/shards.hpp"

namespace isaribi::optim {
namespace {

class Sgd final : public Optimizer {
 public:
  Sgd(const OptimizerSettings& settings, const Subject& subject, api::Backend& backend,
      comm::Communicator& comm)
      : settings_(settings),
        parameters_(subject.parameters),
        backend_(backend),
        comm_(comm),
        rows_(subject, comm) {
    if (settings.momentum > 0) velocity_.emplace("momentum", parameters_, backend);
  }

  std::string_view kind() const override { return "sgd"; }

  std::string step(double lr, std::int64_t) override {
    if (velocity_) velocity_->release();
    clip_gradients(parameters_, settings_.clip_norm, backend_, comm_);
    rows_.begin();
    for (std::size_t i = 0; i < parameters_.size(); ++i) {
      const nn::Parameter& p = *parameters_[i];
      const double decay = decay_of(settings_, p);
      backend_.update().sgd({.w = p.own(),
                             .gradient = p.gradient,
                             .velocity = velocity_ ? velocity_->own(i) : core::Tensor(),
                             .lr = lr,
                             .momentum = settings_.momentum,
                             .l2 = settings_.decoupled ? 0.0 : decay,
                             .decay = settings_.decoupled ? decay : 0.0,
                             .nesterov = settings_.nesterov});
      rows_.start(p);
    }
    rows_.finish();
    return "";
  }

  void gather_state() override {
    if (velocity_) velocity_->gather(comm_);
  }
  std::vector<core::NamedTensor> state() override {
    std::vector<core::NamedTensor> list;
    if (velocity_) velocity_->append_to(list);
    return list;
  }
  void adopt_state() override {
    if (velocity_) velocity_->adopt();
  }

 private:
  OptimizerSettings settings_;
  Parameters parameters_;
  api::Backend& backend_;
  comm::Communicator& comm_;
  RowExchange rows_;
  std::optional<Moments> velocity_;
};

}  // namespace

std::unique_ptr<Optimizer> make_sgd(const OptimizerSettings& settings, const Subject& subject,
                                    api::Backend& backend, comm::Communicator& comm) {
  return std::make_unique<Sgd>(settings, subject, backend, comm);
}

}  // namespace isaribi::optim
