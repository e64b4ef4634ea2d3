// SPDX-License-Identifier: MIT
// Batch normalisation (Ioffe & Szegedy 2015), cut where ranks must talk: local sums first, then,
// after the caller has summed them over ranks, the pass that uses them. Sums are f64. All tensors
// [.., C]; M = elements per channel.
#pragma once

#include "backends/api/op.hpp"
#include "core/tensor.hpp"

namespace isaribi::api {

/// sums[0, c] = sum x, sums[1, c] = sum x^2 over all but the last axis.
struct BatchNormStatistics {
  core::Tensor x;     ///< [.., C]
  core::Tensor sums;  ///< out: [2, C] f64
};

/// y = act(gamma (x - mean) inv_std + beta). Training passes batch statistics, evaluation running
/// ones.
struct BatchNormNormalize {
  core::Tensor x;                            ///< [.., C]
  core::Tensor mean;                         ///< [C], type of x
  core::Tensor inv_std;                      ///< [C], type of x: 1 / sqrt(var + epsilon)
  core::Tensor gamma;                        ///< [C], type of x
  core::Tensor beta;                         ///< [C], type of x
  core::Tensor y;                            ///< out: like x
  Activation activation = Activation::none;  ///< none or relu
};

/// With x^ = (x - mean) inv_std and dy' = dy, or dy where y > 0 for a fused relu:
/// sums[0, c] = sum dy' (the gradient of beta), sums[1, c] = sum dy' x^ (the gradient of gamma).
struct BatchNormBackwardReduce {
  core::Tensor x;   ///< [.., C]
  core::Tensor y;   ///< like x: the output of the forward pass; undefined when activation is none
  core::Tensor dy;  ///< like x
  core::Tensor mean, inv_std;  ///< [C], type of x
  core::Tensor sums;           ///< out: [2, C] f64
  Activation activation = Activation::none;
};

/// dx = gamma inv_std (dy' - sums[0] / M - x^ sums[1] / M), with sums and M over all ranks.
struct BatchNormBackwardApply {
  core::Tensor x, y, dy;       ///< as in BatchNormBackwardReduce
  core::Tensor mean, inv_std;  ///< [C], type of x
  core::Tensor gamma;          ///< [C], type of x
  core::Tensor sums;           ///< [2, C] f64, summed over ranks
  double elements = 0;         ///< M over all ranks
  core::Tensor dx;             ///< out: like x; may be dy itself
  Activation activation = Activation::none;
};

/// Folds an evaluation-mode batch norm into the convolution or linear layer before it:
/// w[o, ..] *= gamma[o] inv_std[o]; bias[o] = (bias[o] - mean[o]) gamma[o] inv_std[o] + beta[o]. In
/// place.
struct BatchNormFold {
  core::Tensor w;                           ///< in/out: [O, ..]
  core::Tensor bias;                        ///< in/out: [O] (zeros where the layer has none)
  core::Tensor mean, inv_std, gamma, beta;  ///< [O], type of w
};

/// Batch normalisation of one backend. Types: f32 and f64.
class NormOps {
 public:
  virtual ~NormOps() = default;
  void statistics(const BatchNormStatistics& args);
  void normalize(const BatchNormNormalize& args);
  void backward_reduce(const BatchNormBackwardReduce& args);
  void backward_apply(const BatchNormBackwardApply& args);
  void fold(const BatchNormFold& args);

 private:
  virtual void do_statistics(const BatchNormStatistics& args) = 0;
  virtual void do_normalize(const BatchNormNormalize& args) = 0;
  virtual void do_backward_reduce(const BatchNormBackwardReduce& args) = 0;
  virtual void do_backward_apply(const BatchNormBackwardApply& args) = 0;
  virtual void do_fold(const BatchNormFold& args) = 0;
};

}  // namespace isaribi::api
