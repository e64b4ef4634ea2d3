// SPDX-License-Identifier: MIT
// Weight gradients: the forms for many channels and for one channel per group. The general one is
// Conv::do_backward_weights.
#pragma once

#include "backends/api/conv.hpp"
#include "backends/simd/context.hpp"

namespace isaribi::simd {

/// dw of a layer with many channels on both sides; false where it does not apply.
/// conv_weights_wide.cpp
bool run_wide_weights(const api::ConvBackwardWeights& args, Context& context);

/// dw of a layer with one channel per group and as many outputs; false where it does not apply.
/// conv_depthwise.cpp
bool run_depthwise_weights(const api::ConvBackwardWeights& args, Context& context);

}  // namespace isaribi::simd
