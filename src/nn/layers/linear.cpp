// SPDX-License-Identifier: MIT
// Fully connected layer on the flattened input (row-major [H, W, C]). Start of weight and bias:
// uniform in +-1 / sqrt(inputs), as PyTorch has it; with init given, the bias starts at 0. A large
// weight may be in shards (nn/sharding.hpp).
#include <cmath>

#include "nn/initialise.hpp"
#include "nn/layers/layers.hpp"
#include "nn/layers/sufficient_factors.hpp"
#include "nn/layers/weights.hpp"

namespace isaribi::nn::layers {
namespace {

class Linear final : public WeightedLayer {
 public:
  Linear(OptionReader& options, std::int64_t model_outputs, bool bias)
      : WeightedLayer(options.spec().name, options.spec().place, bias),
        outputs_(options.required("features", model_outputs, 1, "the number of outputs")),
        bias_like_weight_(!options.has("init")),
        start_(options.text("init", "uniform_fan_in", initialiser_names())) {}

  std::string_view kind() const override { return "linear"; }

  core::Shape infer(std::span<const core::Shape> inputs) override {
    inputs_ = inputs[0].count();
    const Initialiser start =
        make_initialiser(start_, static_cast<double>(inputs_), static_cast<double>(outputs_));
    describe({outputs_, inputs_}, start, outputs_, bias_like_weight_ ? start : Initialiser{});
    return {outputs_};
  }

  void forward(const Pass& pass, std::span<const core::Tensor> x, const core::Tensor& y) override {
    const core::Tensor rows = flat(x[0]);
    if (tap() != nullptr && pass.training) tap()->on_input(*this, rows);
    if (pass.training && weight().shards.any()) factors_.start_inputs(pass, rows);
    pass.backend->linear().forward(
        {.x = rows, .w = weight().value, .bias = bias_value(), .y = y, .activation = activation()});
  }

  void backward(const Pass& pass, std::span<const core::Tensor> x, const core::Tensor& y,
                const core::Tensor& dy, std::span<const core::Tensor> dx,
                bool accumulate) override {
    begin_backward(pass, flat(x[0]), y, dy);
    const bool sharded = pass.parameter_gradients && weight().shards.any();
    if (sharded) factors_.start_gradients(pass, dy);  // under way beside backward_data
    if (dx[0].defined())
      pass.backend->linear().backward_data({.dy = dy, .w = weight().value, .dx = flat(dx[0])});
    if (!pass.parameter_gradients) return;
    const SufficientFactors::Factors of =
        sharded ? factors_.finish(pass) : SufficientFactors::Factors{flat(x[0]), dy};
    pass.backend->linear().backward_weights({.x = of.x,
                                             .dy = of.dy,
                                             .dw = weight().gradient,
                                             .db = bias_gradient(),
                                             .accumulate = accumulate});
  }

  void shard(const Sharding& sharding) override {
    if (!sharding.pays(inputs_, outputs_)) return;
    sharding_ = sharding;
    for (Parameter& p : parameters()) p.shards = sharding.of(outputs_);
  }

  void prepare(api::Backend& backend, std::int64_t, core::DType type) override {
    if (weight().shards.any()) factors_.prepare(backend, sharding_, inputs_, outputs_, type);
  }

  std::size_t workspace_bytes(std::int64_t) const override {
    if (!weight().shards.any()) return 0;
    return static_cast<std::size_t>(SufficientFactors::elements(sharding_, inputs_, outputs_)) *
           sizeof(float);
  }

  std::size_t shared_bytes(std::size_t width) const override {
    if (!weight().shards.any()) return 0;
    return SufficientFactors::shared_bytes(sharding_, inputs_, outputs_, width);
  }

  std::optional<Curvature> curvature() override { return affine(1, 1); }

  double multiply_adds() const override {
    return static_cast<double>(inputs_) * static_cast<double>(outputs_);
  }

 private:
  core::Tensor flat(const core::Tensor& t) const { return t.reshaped({t.shape()[0], inputs_}); }

  std::int64_t inputs_ = 0, outputs_;
  bool bias_like_weight_;
  std::string start_;
  Sharding sharding_;
  SufficientFactors factors_;  // of a sharded weight
};

}  // namespace

Made make_linear(OptionReader& options, const MakeContext& context) {
  options.text("share", "", {});  // read by the graph
  return std::make_unique<Linear>(options, context.model.outputs, options.flag("bias", true));
}

}  // namespace isaribi::nn::layers
