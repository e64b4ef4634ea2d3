// SPDX-License-Identifier: MIT
// The quadratic model of the loss at the weights of a step: along directions, for the step that
// minimises it (Martens & Grosse 2015, section 7), and how well it predicted the loss, for
// Levenberg-Marquardt damping (section 6.5). The curvature is that of the generalised Gauss-Newton
// matrix, d^T J^T H J d, with J d by a finite difference of the output: one more forward pass per
// direction, no factors, the same in every placement.
#pragma once

#include <vector>

#include "nn/graph.hpp"
#include "optim/optimizer.hpp"
#include "train/config.hpp"
#include "train/context.hpp"
#include "train/feed.hpp"
#include "train/objective.hpp"

namespace isaribi::train {

/// A point w in weight space, kept while the step to w + d is made.
class TrialPoint final : public optim::LossModel {
 public:
  /// After forward and loss at w. @param pass, batch those of the step. @param scale of the loss
  /// gradient: 1 / (samples of the global batch)
  TrialPoint(const nn::Pass& pass, const DeviceBatch& batch, double scale, nn::Graph& graph,
             const Objective& objective, const Context& context);
  /// Before the update.
  Plane along(std::span<const core::Tensor> p, std::span<const core::Tensor> q) override;
  /// After the update; collective. @param loss sum over all samples at w. Leaves the weights as
  /// they are.
  optim::Trial judge(double loss, double damping, const Config& config, Objective& objective);

 private:
  core::Tensor output_change(std::span<const core::Tensor> direction);
  void set_weights(std::span<const core::Tensor> values);

  nn::Pass pass_;
  DeviceBatch batch_;
  double scale_;
  nn::Graph& graph_;
  const Objective& objective_;
  const Context& context_;
  std::vector<core::Tensor> weights_;  ///< w
  core::Tensor output_, slopes_;       ///< host: z(w), d(loss)/dz times scale
};

}  // namespace isaribi::train
