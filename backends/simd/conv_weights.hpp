// SPDX-License-Identifier: MIT
// Weight gradients: the forms for many channels and for groups of few. The general one is
// Conv::do_backward_weights.
#pragma once

#include "backends/api/conv.hpp"
#include "backends/simd/context.hpp"
#include "backends/simd/kernels.hpp"

namespace isaribi::simd {

/// Elements from one row of pixels to the next, and from pixel to pixel.
struct PixelSteps {
  std::int64_t row, pixel;
};

/// Lists rows x columns pixels for weight_tile from `at` on; returns where the list ends.
WeightPixel* list_pixels(std::int64_t rows, std::int64_t columns, PixelSteps x, PixelSteps dy,
                         WeightPixel* at);

/// dw of a layer with many channels on both sides; false where it does not apply.
/// conv_weights_wide.cpp
bool run_wide_weights(const api::ConvBackwardWeights& args, Context& context);

/// dw of a layer with one channel per group, or 2^k that a vector holds, and as many outputs; false
/// where it does not apply.
/// conv_depthwise.cpp
bool run_depthwise_weights(const api::ConvBackwardWeights& args, Context& context);

}  // namespace isaribi::simd
