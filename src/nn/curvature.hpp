// SPDX-License-Identifier: MIT
// What layers show to second-order methods: the shape of their curvature, and, while a pass runs,
// the activations and output gradients that a Fisher is made of (Martens & Grosse 2015; Grosse &
// Martens 2016 for convolutions).
#pragma once

#include <cstdint>
#include <optional>

#include "nn/layer.hpp"

namespace isaribi::nn {

/// A layer as K-FAC sees it. `affine`: s = W [patch; 1], a convolution, or a linear layer as a 1 x
/// 1 convolution of 1 x 1 images; one weight matrix [outputs, inputs (+ 1 for the bias)] per group.
/// `norm`: y = scale x^ + shift, two parameters per channel.
struct Curvature {
  enum class Kind : std::uint8_t { affine, norm };
  Kind kind = Kind::affine;
  Parameter* weight = nullptr;  ///< of the owner when parameters are shared; scale of a norm
  Parameter* bias = nullptr;    ///< or null; shift of a norm
  std::int64_t kernel_h = 1, kernel_w = 1;
  api::ConvGeometry geometry = {};
  std::int64_t groups = 1;
  std::int64_t inputs = 0;     ///< columns of the weight matrix of one group, without the bias
  std::int64_t outputs = 0;    ///< its rows; channels of a norm
  std::int64_t positions = 1;  ///< T: places of one output sample that use the weights
};

/// A layer with parameters in its network.
struct CurvedLayer {
  Layer* layer = nullptr;
  std::optional<Curvature> curvature;  ///< none: the layer's kind has no known curvature
  bool normalised = false;  ///< only a batch norm reads it: the length of its weights has no effect
};

/// Listens to training passes. Tensors are valid during the call only; calls come in forward and in
/// backward order, on every rank alike, also for batches without samples.
class CurvatureTap {
 public:
  virtual ~CurvatureTap() = default;
  /// An affine layer runs forward on `input`: [N, H, W, I] or [N, I].
  virtual void on_input(const Layer& layer, const core::Tensor& input) = 0;
  /// An affine layer runs backward. `gradient`: d(mean loss over the global batch)/d(output), [N,
  /// P, Q, O] or [N, O]; times the global batch it is that of each sample's own loss.
  virtual void on_output_gradient(const Layer& layer, const core::Tensor& input,
                                  const core::Tensor& gradient) = 0;
  /// A norm layer runs backward on these operands; `sums` is not for the tap.
  virtual void on_norm_gradient(const Layer& layer,
                                const api::BatchNormBackwardReduce& operands) = 0;
};

}  // namespace isaribi::nn
