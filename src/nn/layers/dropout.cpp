// SPDX-License-Identifier: MIT
// Dropout (Srivastava et al. 2014), scaled while training. What is dropped depends on seed, layer,
// step and global sample id alone, so neither ranks nor micro-batches change it.
#include "nn/layers/layers.hpp"

namespace isaribi::nn::layers {
namespace {

class DropoutLayer final : public Layer {
 public:
  DropoutLayer(OptionReader& options, std::uint64_t index)
      : Layer(options.spec().name, options.spec().place),
        index_(index),
        p_(options.number("p", 0.5, 0.0, 0.999)) {}

  std::string_view kind() const override { return "dropout"; }
  core::Shape infer(std::span<const core::Shape> inputs) override { return inputs[0]; }
  bool is_view() const override { return p_ == 0.0; }
  GradientFlow gradient_flow() const override { return GradientFlow::in_place; }

  void forward(const Pass& pass, std::span<const core::Tensor> x, const core::Tensor& y) override {
    if (pass.training) {
      apply(pass, x[0], y);
    } else {
      pass.backend->copy(x[0], y);
    }
  }
  void backward(const Pass& pass, std::span<const core::Tensor>, const core::Tensor&,
                const core::Tensor& dy, std::span<const core::Tensor> dx, bool) override {
    if (dx[0].defined()) apply(pass, dy, dx[0]);
  }

 private:
  void apply(const Pass& pass, const core::Tensor& x, const core::Tensor& y) const {
    // 16 bits of layer above 48 bits of step: streams of different layers never meet.
    const core::Philox key(pass.seed, core::Purpose::dropout, index_ << 48 | pass.step);
    pass.backend->random().dropout({.x = x, .ids = pass.ids, .y = y, .p = p_, .key = key});
  }

  std::uint64_t index_;
  double p_;
};

}  // namespace

Made make_dropout(OptionReader& options, const MakeContext& context) {
  return std::make_unique<DropoutLayer>(options, context.index);
}

}  // namespace isaribi::nn::layers
