// SPDX-License-Identifier: MIT
#include "nn/layer.hpp"

#include "core/error.hpp"
#include "nn/curvature.hpp"

namespace isaribi::nn {

std::optional<core::PhaseTimers::Scope> Pass::time_exchange() const {
  if (timers == nullptr) return std::nullopt;
  return std::optional<core::PhaseTimers::Scope>(std::in_place, *timers, "exchange");
}

std::string Layer::where() const {
  return (place_.empty() ? "" : place_ + ": ") + "layer '" + name_ + "'";
}

std::optional<Curvature> Layer::curvature() {
  return std::nullopt;
}

void Layer::share_parameters(Layer& owner) {
  throw core::UsageError(where() + ": a " + std::string(kind()) +
                             " layer has no weights to share with '" + owner.name() + "'",
                         "share works for conv, linear and batch_norm");
}

}  // namespace isaribi::nn
