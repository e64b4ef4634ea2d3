// SPDX-License-Identifier: MIT
// Fused optimizer updates: one pass over the parameter. Weights f32 or f64; the gradient has their
// type or f64.
#pragma once

#include <cstdint>

#include "core/tensor.hpp"

namespace isaribi::api {

/// g' = scale g + l2 w;  v = momentum v + g';  u = nesterov ? g' + momentum v : v;  w = (1 - lr
/// decay) w - lr u. The form of Sutskever et al. 2013 as PyTorch states it; decay is decoupled
/// (Loshchilov & Hutter 2019).
struct SgdUpdate {
  core::Tensor w;         ///< in/out
  core::Tensor gradient;  ///< like w, its type or f64
  core::Tensor velocity;  ///< in/out: like w; undefined when momentum == 0
  double lr = 0.0, momentum = 0.0, l2 = 0.0, decay = 0.0;
  bool nesterov = false;
  double scale = 1.0;  ///< of the gradient: what a bound of the step leaves of it
};

/// Adam (Kingma & Ba 2015) with decoupled decay (AdamW): g' = g + l2 w; m = b1 m + (1-b1) g'; v =
/// b2 v + (1-b2) g'^2; w = (1 - lr decay) w - lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) +
/// epsilon).
struct AdamUpdate {
  core::Tensor w;         ///< in/out
  core::Tensor gradient;  ///< like w, its type or f64
  core::Tensor m, v;      ///< in/out: like w
  double lr = 0.0, beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, l2 = 0.0, decay = 0.0;
  std::int64_t step = 1;  ///< t, counts from 1
};

/// Parameter updates of one backend.
class UpdateOps {
 public:
  virtual ~UpdateOps() = default;
  void sgd(const SgdUpdate& args);
  void adam(const AdamUpdate& args);

 private:
  virtual void do_sgd(const SgdUpdate& args) = 0;
  virtual void do_adam(const AdamUpdate& args) = 0;
};

}  // namespace isaribi::api
