// SPDX-License-Identifier: MIT
// The weight and bias of conv and linear layers: their own, or those of an earlier layer.
#pragma once

#include <array>
#include <span>

#include "nn/curvature.hpp"

namespace isaribi::nn::layers {

/// Base of the layers with a weight tensor and, perhaps, a bias [outputs].
class WeightedLayer : public Layer {
 public:
  WeightedLayer(std::string name, std::string place, bool bias);
  std::span<Parameter> parameters() override {
    return owner_ == this ? own_span() : std::span<Parameter>{};
  }
  void share_parameters(Layer& owner) override;
  bool fuse_relu() override {
    activation_ = api::Activation::relu;
    return true;
  }

 protected:
  /// States the shapes, once infer() knows them. @param outputs elements of the bias.
  void describe(const core::Shape& weight, const Initialiser& weight_start, std::int64_t outputs,
                const Initialiser& bias_start);
  const Parameter& weight() const { return owner_->own_[0]; }
  bool has_bias() const { return bias_; }
  /// The bias value or its gradient; undefined without a bias.
  core::Tensor bias_value() const { return bias_ ? owner_->own_[1].value : core::Tensor(); }
  core::Tensor bias_gradient() const { return bias_ ? owner_->own_[1].gradient : core::Tensor(); }
  api::Activation activation() const { return activation_; }
  /// Turns dy into the gradient before a fused relu (in place), and tells the tap of it and of the
  /// input `x`.
  void begin_backward(const Pass& pass, const core::Tensor& x, const core::Tensor& y,
                      const core::Tensor& dy) const;
  /// The curvature of a weight [outputs in all, ..] that is used at `positions` places.
  Curvature affine(std::int64_t groups, std::int64_t positions) const;

 private:
  std::span<Parameter> own_span() { return {own_.data(), bias_ ? 2u : 1u}; }

  bool bias_;
  api::Activation activation_ = api::Activation::none;
  std::array<Parameter, 2> own_;
  WeightedLayer* owner_ = this;
};

}  // namespace isaribi::nn::layers
