// SPDX-License-Identifier: MIT
// relu, relu6, tanh, sigmoid and swish as layers of their own. A relu is usually taken over by the
// layer before it (Graph).
#include <array>
#include <utility>

#include "core/error.hpp"
#include "nn/layers/layers.hpp"

namespace isaribi::nn::layers {
namespace {

class ActivationLayer final : public Layer {
 public:
  ActivationLayer(const LayerSpec& spec, api::Activation kind)
      : Layer(spec.name, spec.place), activation_(kind) {}

  std::string_view kind() const override { return api::name_of(activation_); }
  core::Shape infer(std::span<const core::Shape> inputs) override { return inputs[0]; }
  bool is_relu() const override { return activation_ == api::Activation::relu; }
  GradientFlow gradient_flow() const override { return GradientFlow::in_place; }

  void forward(const Pass& pass, std::span<const core::Tensor> x, const core::Tensor& y) override {
    pass.backend->elementwise().activation_forward({.kind = activation_, .x = x[0], .y = y});
  }
  void backward(const Pass& pass, std::span<const core::Tensor> x, const core::Tensor& y,
                const core::Tensor& dy, std::span<const core::Tensor> dx, bool) override {
    if (!dx[0].defined()) return;
    pass.backend->elementwise().activation_backward(
        {.kind = activation_, .x = x[0], .y = y, .dy = dy, .dx = dx[0]});
  }

 private:
  api::Activation activation_;
};

}  // namespace

Made make_activation(OptionReader& options, const MakeContext&) {
  using api::Activation;
  for (const Activation kind : {Activation::relu, Activation::relu6, Activation::tanh,
                                Activation::sigmoid, Activation::swish}) {
    if (options.spec().kind == api::name_of(kind))
      return std::make_unique<ActivationLayer>(options.spec(), kind);
  }
  throw core::InternalError("no activation is called " + options.spec().kind);
}

}  // namespace isaribi::nn::layers
