// SPDX-License-Identifier: MIT
#include "nn/layers/weights.hpp"

#include "core/error.hpp"

namespace isaribi::nn::layers {

WeightedLayer::WeightedLayer(std::string name, std::string place, bool bias)
    : Layer(std::move(name), std::move(place)), bias_(bias) {
  own_[0].name = this->name() + "/weight";
  own_[1].name = this->name() + "/bias";
  own_[1].role = Role::bias;
}

void WeightedLayer::describe(const core::Shape& weight, const Initialiser& weight_start,
                             std::int64_t outputs, const Initialiser& bias_start) {
  own_[0].shape = weight;
  own_[0].initialiser = weight_start;
  own_[1].shape = core::Shape{outputs};
  own_[1].initialiser = bias_start;
}

void WeightedLayer::share_parameters(Layer& owner) {
  auto* other = owner.kind() == kind() ? dynamic_cast<WeightedLayer*>(&owner) : nullptr;
  if (other == nullptr) {
    throw core::UsageError(where() + ": cannot share the weights of '" + owner.name() + "', a " +
                               std::string(owner.kind()) + " layer",
                           "share names an earlier " + std::string(kind()) + " layer");
  }
  if (other->own_[0].shape != own_[0].shape || other->bias_ != bias_) {
    throw core::ShapeError(
        where() + ": weights shared with '" + owner.name() + "'",
        other->own_[0].shape.text() + (other->bias_ ? " with bias" : " without bias"),
        own_[0].shape.text() + (bias_ ? " with bias" : " without bias"));
  }
  owner_ = other->owner_;
}

void WeightedLayer::begin_backward(const Pass& pass, const core::Tensor& x, const core::Tensor& y,
                                   const core::Tensor& dy) const {
  if (activation_ != api::Activation::none) {
    pass.backend->elementwise().activation_backward(
        {.kind = activation_, .x = {}, .y = y, .dy = dy, .dx = dy});
  }
  if (tap() != nullptr) tap()->on_output_gradient(*this, x, dy);
}

Curvature WeightedLayer::affine(std::int64_t groups, std::int64_t positions) const {
  const core::Shape& w = weight().shape;
  return {.weight = &owner_->own_[0],
          .bias = bias_ ? &owner_->own_[1] : nullptr,
          .groups = groups,
          .inputs = w.count() / w[0],
          .outputs = w[0] / groups,
          .positions = positions};
}

}  // namespace isaribi::nn::layers
