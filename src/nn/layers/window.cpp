// SPDX-License-Identifier: MIT
#include "nn/layers/window.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.hpp"

namespace isaribi::nn::layers {
namespace {

// Pads of one axis so that the output is ceil(extent / stride).
void same_pads(std::int64_t extent, std::int64_t kernel, std::int64_t stride, std::int64_t dilation,
               std::int64_t& before, std::int64_t& after) {
  const std::int64_t out = (extent + stride - 1) / stride;
  const std::int64_t total =
      std::max<std::int64_t>(0, (out - 1) * stride + dilation * (kernel - 1) + 1 - extent);
  before = total / 2;
  after = total - before;
}

}  // namespace

core::Shape Window::fit(const std::string& where, const core::Shape& sample) {
  if (sample.rank() != 3) {
    throw core::ShapeError(
        where, "an image [H, W, C]", sample.text(),
        "layers with a window come before flatten, linear and global_average_pool");
  }
  const std::int64_t in_h = sample[0], in_w = sample[1];
  if (same) {
    same_pads(in_h, kernel_h, stride_h, dilation_h, pad_top, pad_bottom);
    same_pads(in_w, kernel_w, stride_w, dilation_w, pad_left, pad_right);
  }
  const std::int64_t span_h = dilation_h * (kernel_h - 1) + 1,
                     span_w = dilation_w * (kernel_w - 1) + 1;
  const std::int64_t padded_h = in_h + pad_top + pad_bottom, padded_w = in_w + pad_left + pad_right;
  if (padded_h < span_h || padded_w < span_w) {
    throw core::ShapeError(
        where, fmt::format("at least {} x {} values under the kernel", span_h, span_w),
        fmt::format("{} x {} (input {} with its padding)", padded_h, padded_w, sample.text()),
        "use larger samples, a smaller kernel, more padding, or fewer strides and pools before");
  }
  return {(padded_h - span_h) / stride_h + 1, (padded_w - span_w) / stride_w + 1};
}

Window read_window(OptionReader& options, std::int64_t default_kernel, std::int64_t default_stride,
                   bool dilated) {
  Window w;
  const bool both = options.has("kernel_h") && options.has("kernel_w");
  const std::int64_t kernel = options.required("kernel", both ? 1 : default_kernel, 1,
                                               "the extent of the window, 3 for 3 x 3");
  w.kernel_h = options.integer("kernel_h", kernel, 1);
  w.kernel_w = options.integer("kernel_w", kernel, 1);
  const bool strided = options.has("stride") || default_stride > 0;
  const std::int64_t stride =
      options.integer("stride", std::max<std::int64_t>(default_stride, 1), 1);
  w.stride_h = options.integer("stride_h", strided ? stride : w.kernel_h, 1);
  w.stride_w = options.integer("stride_w", strided ? stride : w.kernel_w, 1);
  if (dilated) {
    const std::int64_t dilation = options.integer("dilation", 1, 1);
    w.dilation_h = options.integer("dilation_h", dilation, 1);
    w.dilation_w = options.integer("dilation_w", dilation, 1);
  }
  std::int64_t pad = 0;
  if (options.spec().texts.contains("pad")) {
    w.same = options.text("pad", "", {"same"}) == "same";
  } else {
    pad = options.integer("pad", 0, 0);
  }
  w.pad_top = options.integer("pad_top", pad, 0);
  w.pad_left = options.integer("pad_left", pad, 0);
  w.pad_bottom = options.integer("pad_bottom", pad, 0);
  w.pad_right = options.integer("pad_right", pad, 0);
  if (w.same && (w.pad_top + w.pad_left + w.pad_bottom + w.pad_right) > 0) {
    throw core::UsageError(
        options.where() + ": pad = \"same\" and a number of its own for one side",
        "give either pad = \"same\" or numbers");
  }
  return w;
}

}  // namespace isaribi::nn::layers
