// SPDX-License-Identifier: MIT
// Losses with dense (soft) targets. Each gives the loss of every sample and, on request, its
// gradient times `scale` (1 / global batch for a mean over all ranks). Types: f32 and f64.
#pragma once

#include "core/tensor.hpp"

namespace isaribi::api {

struct Loss {
  core::Tensor z;        ///< [N, C] network output: logits, or predictions for mean_squared_error
  core::Tensor targets;  ///< [N, C], type of z
  core::Tensor loss;     ///< out: [N] f64
  core::Tensor dz;       ///< out: [N, C], type of z, or undefined when no gradient is wanted
  double scale = 1.0;
};

/// t[n, c] = (1 - smoothing) [c == label] + smoothing / C. A label outside [0, C) gives a row of
/// NaN.
struct OneHot {
  core::Tensor labels;   ///< [N] i32
  core::Tensor targets;  ///< out: [N, C]
  double smoothing = 0.0;
};

/// Losses of one backend.
class LossOps {
 public:
  virtual ~LossOps() = default;
  /// loss = -sum_c t_c log softmax(z)_c (max subtracted); dz = scale (softmax(z) sum_c t_c - t).
  void softmax_cross_entropy(const Loss& args);
  /// loss = 1/2 sum_c (z_c - t_c)^2; dz = scale (z - t).
  void mean_squared_error(const Loss& args);
  /// loss = sum_c softplus(z_c) - t_c z_c, stable for large |z|; dz = scale (sigmoid(z) - t).
  void bernoulli_cross_entropy(const Loss& args);
  void one_hot(const OneHot& args);

 private:
  virtual void do_softmax_cross_entropy(const Loss& args) = 0;
  virtual void do_mean_squared_error(const Loss& args) = 0;
  virtual void do_bernoulli_cross_entropy(const Loss& args) = 0;
  virtual void do_one_hot(const OneHot& args) = 0;
};

}  // namespace isaribi::api
