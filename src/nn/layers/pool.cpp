// SPDX-License-Identifier: MIT
// Max, average and global average pooling.
#include "core/error.hpp"
#include "nn/layers/layers.hpp"
#include "nn/layers/window.hpp"

namespace isaribi::nn::layers {
namespace {

api::PoolGeometry geometry_of(const Window& w, bool count_include_pad) {
  return {.kernel_h = w.kernel_h,
          .kernel_w = w.kernel_w,
          .stride_h = w.stride_h,
          .stride_w = w.stride_w,
          .pad_top = w.pad_top,
          .pad_left = w.pad_left,
          .pad_bottom = w.pad_bottom,
          .pad_right = w.pad_right,
          .count_include_pad = count_include_pad};
}

class MaxPool final : public Layer {
 public:
  explicit MaxPool(OptionReader& options)
      : Layer(options.spec().name, options.spec().place),
        window_(read_window(options, 2, 0, false)) {}

  std::string_view kind() const override { return "max_pool"; }
  core::Shape infer(std::span<const core::Shape> inputs) override {
    const core::Shape out = window_.fit(where(), inputs[0]);
    geometry_ = geometry_of(window_, false);
    sample_ = {out[0], out[1], inputs[0][2]};
    return sample_;
  }
  void prepare(api::Backend& backend, std::int64_t max_batch, core::DType) override {
    argmax_ = backend.make(sample_.batched(max_batch), core::DType::i32);
  }
  std::size_t workspace_bytes(std::int64_t max_batch) const override {
    return static_cast<std::size_t>(max_batch * sample_.count()) * sizeof(std::int32_t);
  }
  void forward(const Pass& pass, std::span<const core::Tensor> x, const core::Tensor& y) override {
    pass.backend->pool().max_forward(
        {.x = x[0], .y = y, .argmax = argmax_.rows(0, y.shape()[0]), .geometry = geometry_});
  }
  void backward(const Pass& pass, std::span<const core::Tensor>, const core::Tensor&,
                const core::Tensor& dy, std::span<const core::Tensor> dx, bool) override {
    if (!dx[0].defined()) return;
    pass.backend->pool().max_backward(
        {.dy = dy, .argmax = argmax_.rows(0, dy.shape()[0]), .dx = dx[0], .geometry = geometry_});
  }

 private:
  Window window_;
  api::PoolGeometry geometry_;
  core::Shape sample_;
  core::Tensor argmax_;
};

class AveragePool final : public Layer {
 public:
  explicit AveragePool(OptionReader& options)
      : Layer(options.spec().name, options.spec().place),
        window_(read_window(options, 2, 0, false)),
        count_include_pad_(options.flag("count_include_pad", false)) {}

  std::string_view kind() const override { return "average_pool"; }
  core::Shape infer(std::span<const core::Shape> inputs) override {
    const core::Shape out = window_.fit(where(), inputs[0]);
    geometry_ = geometry_of(window_, count_include_pad_);
    return {out[0], out[1], inputs[0][2]};
  }
  void forward(const Pass& pass, std::span<const core::Tensor> x, const core::Tensor& y) override {
    pass.backend->pool().average_forward({.x = x[0], .y = y, .geometry = geometry_});
  }
  void backward(const Pass& pass, std::span<const core::Tensor>, const core::Tensor&,
                const core::Tensor& dy, std::span<const core::Tensor> dx, bool) override {
    if (dx[0].defined())
      pass.backend->pool().average_backward({.dy = dy, .dx = dx[0], .geometry = geometry_});
  }

 private:
  Window window_;
  bool count_include_pad_;
  api::PoolGeometry geometry_;
};

class GlobalAveragePool final : public Layer {
 public:
  explicit GlobalAveragePool(const LayerSpec& spec) : Layer(spec.name, spec.place) {}

  std::string_view kind() const override { return "global_average_pool"; }
  core::Shape infer(std::span<const core::Shape> inputs) override {
    if (inputs[0].rank() != 3) {
      throw core::ShapeError(where(), "an image [H, W, C]", inputs[0].text(),
                             "pool before flatten and linear");
    }
    return {inputs[0][2]};
  }
  void forward(const Pass& pass, std::span<const core::Tensor> x, const core::Tensor& y) override {
    pass.backend->pool().global_average_forward({.x = x[0], .y = y});
  }
  void backward(const Pass& pass, std::span<const core::Tensor>, const core::Tensor&,
                const core::Tensor& dy, std::span<const core::Tensor> dx, bool) override {
    if (dx[0].defined()) pass.backend->pool().global_average_backward({.dy = dy, .dx = dx[0]});
  }
};

}  // namespace

Made make_max_pool(OptionReader& options, const MakeContext&) {
  return std::make_unique<MaxPool>(options);
}
Made make_average_pool(OptionReader& options, const MakeContext&) {
  return std::make_unique<AveragePool>(options);
}
Made make_global_average_pool(OptionReader& options, const MakeContext&) {
  return std::make_unique<GlobalAveragePool>(options.spec());
}

}  // namespace isaribi::nn::layers
