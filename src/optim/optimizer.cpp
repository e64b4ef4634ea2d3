// SPDX-License-Identifier: MIT
#include "optim/optimizer.hpp"

#include <fmt/format.h>

#include <cmath>
#include <optional>

#include "core/error.hpp"
#include "optim/kfac/kfac.hpp"
#include "optim/kinds.hpp"

namespace isaribi::optim {
namespace {

void require(bool fine, const char* key, double value, const char* range) {
  if (fine) return;
  throw core::UsageError(fmt::format("optimizer/{} = {} is out of range", key, value),
                         fmt::format("use {}", range));
}

void check(const OptimizerSettings& s) {
  require(s.lr >= 0 && std::isfinite(s.lr), "lr", s.lr, "a number of at least 0");
  require(s.momentum >= 0 && s.momentum < 1, "momentum", s.momentum, "a number in [0, 1)");
  require(s.weight_decay >= 0 && std::isfinite(s.weight_decay), "weight_decay", s.weight_decay,
          "a number of at least 0");
  require(s.beta1 >= 0 && s.beta1 < 1, "beta1", s.beta1, "a number in [0, 1)");
  require(s.beta2 >= 0 && s.beta2 < 1, "beta2", s.beta2, "a number in [0, 1)");
  require(s.epsilon > 0 && std::isfinite(s.epsilon), "epsilon", s.epsilon, "a number above 0");
  require(s.clip_norm >= 0 && std::isfinite(s.clip_norm), "clip_norm", s.clip_norm,
          "0 (off) or a number above 0");
  if (s.nesterov && s.momentum == 0) {
    throw core::UsageError("optimizer/nesterov needs momentum",
                           "set optimizer/momentum, 0.9 for example");
  }
}

}  // namespace

void clip_gradients(Parameters parameters, double bound, api::Backend& backend,
                    comm::Communicator& comm) {
  if (bound == 0.0) return;
  double sum = 0, of_shards = 0;
  bool sharded = false;
  for (const nn::Parameter* p : parameters) {
    sharded = sharded || p->shards.any();
    (p->shards.any() ? of_shards : sum) += backend.elementwise().dot(p->gradient, p->gradient);
  }
  if (sharded) sum += comm.all_reduce(of_shards, comm::ReduceOp::sum);
  const double norm = std::sqrt(sum);
  if (!(norm > bound)) return;
  for (const nn::Parameter* p : parameters) {
    backend.elementwise().axpby(
        {.alpha = bound / norm, .x = p->gradient, .beta = 0.0, .y = p->gradient});
  }
}

double decay_of(const OptimizerSettings& settings, const nn::Parameter& parameter) {
  return settings.decay_bias_and_norm || parameter.role == nn::Role::weight ? settings.weight_decay
                                                                            : 0.0;
}

std::vector<core::Tensor> zeros_like(Parameters parameters, api::Backend& backend) {
  std::vector<core::Tensor> tensors;
  for (const nn::Parameter* p : parameters) {
    tensors.push_back(backend.make(p->value.shape(), p->value.dtype()));
    backend.elementwise().fill({.y = tensors.back(), .value = 0.0});
  }
  return tensors;
}

void append_named(std::vector<core::NamedTensor>& list, const char* prefix, Parameters parameters,
                  const std::vector<core::Tensor>& tensors) {
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    list.push_back({fmt::format("{}/{}", prefix, parameters[i]->name), tensors[i]});
  }
}

namespace {

/// Null for the kinds that are not second-order. @throws UsageError for an unknown one.
std::optional<kfac::Kind> second_order_kind(const std::string& name) {
  if (name == "sgd" || name == "adamw") return std::nullopt;
  if (name == "kfac") return kfac::Kind::kfac;
  if (name == "ekfac") return kfac::Kind::ekfac;
  if (name == "foof") return kfac::Kind::foof;
  throw core::UsageError("optimizer/kind = \"" + name + "\" is not known",
                         "use sgd, adamw, kfac, ekfac or foof");
}

}  // namespace

bool uses_owners(const OptimizerSettings& settings) {
  return second_order_kind(settings.kind).has_value();
}

void check_optimizer(const OptimizerSettings& settings, const KfacSettings& kfac,
                     const Subject& subject, int ranks) {
  check(settings);
  if (const auto kind = second_order_kind(settings.kind)) {
    check_preconditioned(settings);
    kfac::check(*kind, kfac, subject, ranks);
  }
}

std::unique_ptr<Optimizer> make_optimizer(const OptimizerSettings& settings,
                                          const KfacSettings& kfac, const Subject& subject,
                                          api::Backend& backend, comm::Communicator& comm) {
  check_optimizer(settings, kfac, subject, comm.size());
  if (settings.kind == "sgd") return make_sgd(settings, subject, backend, comm);
  if (settings.kind == "adamw") return make_adamw(settings, subject, backend, comm);
  for (const nn::Parameter* p : subject.parameters) {
    if (p->shards.any()) throw core::InternalError(settings.kind + " with sharded weights");
  }
  const double l2 = settings.decoupled ? 0.0 : settings.weight_decay;
  return make_preconditioned(settings, kfac, subject,
                             std::make_unique<kfac::Kfac>(*second_order_kind(settings.kind), kfac,
                                                          l2, subject, backend, comm),
                             backend);
}

}  // namespace isaribi::optim
