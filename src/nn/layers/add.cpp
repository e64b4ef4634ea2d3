// SPDX-License-Identifier: MIT
// The sum of two inputs of one shape (residual connections), with a fused relu.
#include "core/error.hpp"
#include "nn/layers/layers.hpp"

namespace isaribi::nn::layers {
namespace {

class AddLayer final : public Layer {
 public:
  explicit AddLayer(const LayerSpec& spec) : Layer(spec.name, spec.place) {}

  std::string_view kind() const override { return "add"; }
  std::size_t min_inputs() const override { return 2; }
  std::size_t max_inputs() const override { return 2; }
  GradientFlow gradient_flow() const override { return GradientFlow::pass_through; }
  bool fuse_relu() override {
    activation_ = api::Activation::relu;
    return true;
  }
  core::Shape infer(std::span<const core::Shape> inputs) override {
    if (inputs[0] != inputs[1]) {
      throw core::ShapeError(where(), "two inputs of one shape, " + inputs[0].text(),
                             inputs[1].text(),
                             "bring the shortcut to the same shape with a strided 1x1 conv");
    }
    return inputs[0];
  }
  void forward(const Pass& pass, std::span<const core::Tensor> x, const core::Tensor& y) override {
    pass.backend->elementwise().add({.a = x[0], .b = x[1], .y = y, .activation = activation_});
  }
  void backward(const Pass& pass, std::span<const core::Tensor>, const core::Tensor& y,
                const core::Tensor& dy, std::span<const core::Tensor>, bool) override {
    if (activation_ == api::Activation::none) return;
    pass.backend->elementwise().activation_backward(
        {.kind = activation_, .x = {}, .y = y, .dy = dy, .dx = dy});
  }

 private:
  api::Activation activation_ = api::Activation::none;
};

}  // namespace

Made make_add(OptionReader& options, const MakeContext&) {
  return std::make_unique<AddLayer>(options.spec());
}

}  // namespace isaribi::nn::layers
