// SPDX-License-Identifier: MIT
// The loss of a run: from network output and labels (or the sample itself) to per-sample losses,
// the gradient, and the number of right answers.
#pragma once

#include <cstdint>

#include "backends/api/backend.hpp"
#include "optim/optimizer.hpp"
#include "train/config.hpp"

namespace isaribi::train {

class Objective {
 public:
  /// @param output shape of one output sample. @throws UsageError when loss and targets do not fit
  /// together.
  Objective(const TrainSettings& train, const data::DataSettings& data, const core::Shape& output,
            const core::Shape& sample, std::int64_t classes, core::DType type,
            std::int64_t max_batch, api::Backend& backend);

  /// Sums over the samples of one pass.
  struct Sums {
    double loss = 0;
    double correct = 0;
  };
  /// @param output [n, ..] of the network, on the backend's device
  /// @param images [n, ..] the input of the network (targets of an autoencoder)
  /// @param labels [n] i32 on the device, or undefined
  /// @param scale factor of the gradient: 1 / (samples of the global batch)
  /// @param smoothing whether label smoothing applies (training only)
  Sums evaluate(const core::Tensor& output, const core::Tensor& images, const core::Tensor& labels,
                double scale, bool smoothing);
  /// Vector `index` of `mode` for the output of the last evaluate() (backends/api/factor.hpp),
  /// times `scale`: what is back-propagated to form a Fisher. Replaces nothing that evaluate()
  /// gave.
  const core::Tensor& fisher_vectors(api::FisherMode mode, std::int64_t index,
                                     const core::Tensor& ids, const core::Philox& key,
                                     double scale);
  /// Sums over the samples of one output z along two changes of it: slope_p = sum_n (dl_n/dz)^T
  /// p_n, pq = sum_n p_n^T H_n q_n with H the Hessian of the loss in z, and so on. All in host
  /// memory, [n, ..], of one type; `slopes` is d(loss)/dz times `scale`, as gradient() has it.
  optim::LossModel::Plane quadratic(const core::Tensor& z, const core::Tensor& slopes,
                                    const core::Tensor& p, const core::Tensor& q,
                                    double scale) const;
  /// The network output of the last evaluate().
  const core::Tensor& output() const { return output_; }
  /// d(loss)/d(output) of the last evaluate(), [n, ..].
  const core::Tensor& gradient() const { return gradient_; }
  bool classifies() const { return classifies_; }

 private:
  core::Tensor to_host(const core::Tensor& device, core::Tensor& staging);

  api::LossKind kind_;
  bool classifies_;
  bool self_target_;
  double smoothing_;
  std::int64_t outputs_;
  api::Backend& backend_;
  core::Tensor targets_, loss_, dz_, argmax_;  // for the largest batch
  core::Tensor fisher_;                        // for the largest batch, once it is asked for
  core::Tensor gradient_, output_, vectors_;
  core::Tensor host_loss_, host_argmax_,
      host_labels_;  // staging, used when the device is not the host
};

}  // namespace isaribi::train
