// SPDX-License-Identifier: MIT
#include "nn/layer.hpp"

#include "core/error.hpp"

namespace isaribi::nn {

std::string Layer::where() const {
  return (place_.empty() ? "" : place_ + ": ") + "layer '" + name_ + "'";
}

void Layer::share_parameters(Layer& owner) {
  throw core::UsageError(where() + ": a " + std::string(kind()) +
                             " layer has no weights to share with '" + owner.name() + "'",
                         "share works for conv, linear and batch_norm");
}

}  // namespace isaribi::nn
