// SPDX-License-Identifier: MIT
// Convolution (cross-correlation) with stride, padding, dilation, groups, bias and a fused relu.
// Start: He-normal over fan_out without a bias (a batch norm follows: torchvision's ResNet), over
// fan_in with one; biases start at 0.
#include <fmt/format.h>

#include "core/error.hpp"
#include "nn/initialise.hpp"
#include "nn/layers/layers.hpp"
#include "nn/layers/weights.hpp"
#include "nn/layers/window.hpp"

namespace isaribi::nn::layers {
namespace {

class Conv final : public WeightedLayer {
 public:
  Conv(OptionReader& options, bool bias)
      : WeightedLayer(options.spec().name, options.spec().place, bias),
        channels_(options.integer("channels", 0, 1)),
        window_(read_window(options, 0, 1, true)),
        groups_(options.integer("groups", 1, 1)),
        depthwise_(options.flag("depthwise", false)),
        start_(options.text("init", bias ? "he_fan_in" : "he_fan_out", initialiser_names())) {
    if (depthwise_ && options.has("groups")) {
      throw core::UsageError(where() + ": depthwise and groups exclude each other",
                             "depthwise means as many groups as input channels");
    }
    if (channels_ == 0 && !depthwise_) {
      throw core::UsageError(where() + ": channels is missing",
                             "give channels: the number of filters");
    }
  }

  std::string_view kind() const override { return "conv"; }

  core::Shape infer(std::span<const core::Shape> inputs) override {
    const core::Shape out = window_.fit(where(), inputs[0]);
    const std::int64_t in = inputs[0][2];
    if (depthwise_) groups_ = in;
    if (channels_ == 0) channels_ = in;
    if (in % groups_ != 0 || channels_ % groups_ != 0) {
      throw core::ShapeError(
          where(), fmt::format("input and output channels divisible by groups = {}", groups_),
          fmt::format("{} input and {} output channels", in, channels_));
    }
    const std::int64_t taps = window_.kernel_h * window_.kernel_w;
    const auto fan_in = static_cast<double>(taps * in / groups_);
    const auto fan_out = static_cast<double>(taps * channels_ / groups_);
    describe({channels_, window_.kernel_h, window_.kernel_w, in / groups_},
             make_initialiser(start_, fan_in, fan_out), channels_, Initialiser{});
    geometry_ = {.stride_h = window_.stride_h,
                 .stride_w = window_.stride_w,
                 .pad_top = window_.pad_top,
                 .pad_left = window_.pad_left,
                 .pad_bottom = window_.pad_bottom,
                 .pad_right = window_.pad_right,
                 .dilation_h = window_.dilation_h,
                 .dilation_w = window_.dilation_w,
                 .groups = groups_};
    positions_ = out[0] * out[1];
    multiply_adds_ = static_cast<double>(out[0] * out[1] * channels_) * fan_in;
    return {out[0], out[1], channels_};
  }

  void forward(const Pass& pass, std::span<const core::Tensor> x, const core::Tensor& y) override {
    if (tap() != nullptr && pass.training) tap()->on_input(*this, x[0]);
    pass.backend->conv().forward({.x = x[0],
                                  .w = weight().value,
                                  .bias = bias_value(),
                                  .y = y,
                                  .geometry = geometry_,
                                  .activation = activation()});
  }

  void backward(const Pass& pass, std::span<const core::Tensor> x, const core::Tensor& y,
                const core::Tensor& dy, std::span<const core::Tensor> dx,
                bool accumulate) override {
    begin_backward(pass, x[0], y, dy);
    if (pass.parameter_gradients) {
      pass.backend->conv().backward_weights({.x = x[0],
                                             .dy = dy,
                                             .dw = weight().gradient,
                                             .db = bias_gradient(),
                                             .geometry = geometry_,
                                             .accumulate = accumulate});
    }
    if (dx[0].defined()) {
      pass.backend->conv().backward_data(
          {.dy = dy, .w = weight().value, .dx = dx[0], .geometry = geometry_});
    }
  }

  std::optional<Curvature> curvature() override {
    Curvature c = affine(groups_, positions_);
    c.kernel_h = window_.kernel_h;
    c.kernel_w = window_.kernel_w;
    c.geometry = geometry_;
    return c;
  }

  double multiply_adds() const override { return multiply_adds_; }

 private:
  std::int64_t channels_;
  Window window_;
  std::int64_t groups_;
  bool depthwise_;
  std::string start_;
  api::ConvGeometry geometry_;
  std::int64_t positions_ = 0;
  double multiply_adds_ = 0;
};

}  // namespace

Made make_conv(OptionReader& options, const MakeContext&) {
  options.text("share", "", {});  // read by the graph
  return std::make_unique<Conv>(options, options.flag("bias", true));
}

}  // namespace isaribi::nn::layers
