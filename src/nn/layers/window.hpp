// SPDX-License-Identifier: MIT
// The sliding window that convolutions and pools share: kernel, stride, padding and dilation as the
// deck states them, and the padding that "same" means once the input is known.
#pragma once

#include <cstdint>

#include "core/shape.hpp"
#include "nn/options.hpp"

namespace isaribi::nn::layers {

struct Window {
  std::int64_t kernel_h = 1, kernel_w = 1, stride_h = 1, stride_w = 1;
  std::int64_t dilation_h = 1, dilation_w = 1;
  std::int64_t pad_top = 0, pad_left = 0, pad_bottom = 0, pad_right = 0;
  bool same = false;

  /// Sets the pads of "same" (output = ceil(input / stride), the odd row or column at the bottom or
  /// right) for a sample [H, W, C], and returns the output's [H, W].
  /// @throws ShapeError starting with `where` when the sample is no image or the window does not
  /// fit.
  core::Shape fit(const std::string& where, const core::Shape& sample);
};

/// Reads kernel, kernel_h, kernel_w (given, or the default when > 0), stride*, pad (a number or
/// "same"), pad_top, pad_left, pad_bottom, pad_right and, when `dilated`, dilation*.
/// @param default_stride 0: the kernel, as pools have it.
Window read_window(OptionReader& options, std::int64_t default_kernel, std::int64_t default_stride,
                   bool dilated);

}  // namespace isaribi::nn::layers
