// SPDX-License-Identifier: MIT
// Adam with decoupled weight decay (Kingma & Ba 2015, Loshchilov & Hutter 2019).
#include "optim/kinds.hpp"
#include "optim/shards.hpp"

namespace isaribi::optim {
namespace {

class AdamW final : public Optimizer {
 public:
  AdamW(const OptimizerSettings& settings, const Subject& subject, api::Backend& backend,
        comm::Communicator& comm)
      : settings_(settings),
        parameters_(subject.parameters),
        backend_(backend),
        comm_(comm),
        rows_(subject, comm),
        m_("adam_m", parameters_, backend),
        v_("adam_v", parameters_, backend) {}

  std::string_view kind() const override { return "adamw"; }

  std::string step(double lr, std::int64_t step) override {
    m_.release();
    v_.release();
    clip_gradients(parameters_, settings_.clip_norm, backend_, comm_);
    rows_.begin();
    for (std::size_t i = 0; i < parameters_.size(); ++i) {
      const nn::Parameter& p = *parameters_[i];
      backend_.update().adam({.w = p.own(),
                              .gradient = p.gradient,
                              .m = m_.own(i),
                              .v = v_.own(i),
                              .lr = lr,
                              .beta1 = settings_.beta1,
                              .beta2 = settings_.beta2,
                              .epsilon = settings_.epsilon,
                              .l2 = 0.0,
                              .decay = decay_of(settings_, p),
                              .step = step});
      rows_.start(p);
    }
    rows_.finish();
    return "";
  }

  void gather_state() override {
    m_.gather(comm_);
    v_.gather(comm_);
  }
  std::vector<core::NamedTensor> state() override {
    std::vector<core::NamedTensor> list;
    m_.append_to(list);
    v_.append_to(list);
    return list;
  }
  void adopt_state() override {
    m_.adopt();
    v_.adopt();
  }

 private:
  OptimizerSettings settings_;
  Parameters parameters_;
  api::Backend& backend_;
  comm::Communicator& comm_;
  RowExchange rows_;
  Moments m_, v_;
};

}  // namespace

std::unique_ptr<Optimizer> make_adamw(const OptimizerSettings& settings, const Subject& subject,
                                      api::Backend& backend, comm::Communicator& comm) {
  return std::make_unique<AdamW>(settings, subject, backend, comm);
}

}  // namespace isaribi::optim
