// SPDX-License-Identifier: MIT
// Inputs side by side along the last axis (channels).
#include "core/error.hpp"
#include "nn/layers/layers.hpp"

namespace isaribi::nn::layers {
namespace {

class ConcatLayer final : public Layer {
 public:
  explicit ConcatLayer(const LayerSpec& spec) : Layer(spec.name, spec.place) {}

  std::string_view kind() const override { return "concat"; }
  std::size_t min_inputs() const override { return 2; }
  std::size_t max_inputs() const override { return 64; }

  core::Shape infer(std::span<const core::Shape> inputs) override {
    inputs_.assign(inputs.begin(), inputs.end());
    const core::Shape& first = inputs[0];
    std::int64_t channels = 0;
    for (const core::Shape& other : inputs) {
      bool fits = other.rank() == first.rank();
      for (int axis = 0; fits && axis + 1 < first.rank(); ++axis) fits = other[axis] == first[axis];
      if (!fits) {
        throw core::ShapeError(where(), "inputs that differ in channels only, like " + first.text(),
                               other.text());
      }
      channels += other.back();
    }
    std::vector<std::int64_t> extents(first.extents().begin(), first.extents().end());
    extents.back() = channels;
    return core::Shape(extents);
  }

  void forward(const Pass& pass, std::span<const core::Tensor> x, const core::Tensor& y) override {
    parts_.assign(x.begin(), x.end());
    pass.backend->elementwise().concat({.parts = parts_, .y = y});
  }

  void backward(const Pass& pass, std::span<const core::Tensor>, const core::Tensor&,
                const core::Tensor& dy, std::span<const core::Tensor> dx, bool) override {
    const std::int64_t n = dy.shape()[0];
    parts_.assign(dx.begin(), dx.end());
    unwanted_.resize(dx.size());
    for (std::size_t i = 0; i < dx.size(); ++i) {
      if (dx[i].defined()) continue;
      // Split writes every part: one nobody wants goes to memory of its own, made once.
      core::Tensor& spare = unwanted_[i];
      if (!spare.defined() || spare.shape()[0] < n)
        spare = pass.backend->make(inputs_[i].batched(n), dy.dtype());
      parts_[i] = spare.rows(0, n);
    }
    pass.backend->elementwise().split({.x = dy, .parts = parts_});
  }

 private:
  std::vector<core::Shape> inputs_;
  std::vector<core::Tensor> parts_, unwanted_;
};

}  // namespace

Made make_concat(OptionReader& options, const MakeContext&) {
  return std::make_unique<ConcatLayer>(options.spec());
}

}  // namespace isaribi::nn::layers
