// SPDX-License-Identifier: MIT
#include "optim/optimizer.hpp"

#include <fmt/format.h>

#include <cmath>

#include "core/error.hpp"
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

void clip_gradients(Parameters parameters, double bound, api::Backend& backend) {
  if (bound == 0.0) return;
  double sum = 0;
  for (const nn::Parameter* p : parameters)
    sum += backend.elementwise().dot(p->gradient, p->gradient);
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

std::unique_ptr<Optimizer> make_optimizer(const OptimizerSettings& settings, Parameters parameters,
                                          api::Backend& backend) {
  check(settings);
  if (settings.kind == "sgd") return make_sgd(settings, parameters, backend);
  if (settings.kind == "adamw") return make_adamw(settings, parameters, backend);
  throw core::UsageError("optimizer/kind = \"" + settings.kind + "\" is not known",
                         "use sgd or adamw");
}

}  // namespace isaribi::optim
