// SPDX-License-Identifier: MIT
// [H, W, C] seen as [H W C]: no work and no memory, the graph gives it the memory of its input.
#include "nn/layers/layers.hpp"

namespace isaribi::nn::layers {
namespace {

class Flatten final : public Layer {
 public:
  explicit Flatten(const LayerSpec& spec) : Layer(spec.name, spec.place) {}
  std::string_view kind() const override { return "flatten"; }
  core::Shape infer(std::span<const core::Shape> inputs) override { return {inputs[0].count()}; }
  bool is_view() const override { return true; }
  void forward(const Pass&, std::span<const core::Tensor>, const core::Tensor&) override {}
  void backward(const Pass&, std::span<const core::Tensor>, const core::Tensor&,
                const core::Tensor&, std::span<const core::Tensor>, bool) override {}
};

}  // namespace

Made make_flatten(OptionReader& options, const MakeContext&) {
  return std::make_unique<Flatten>(options.spec());
}

}  // namespace isaribi::nn::layers
