// SPDX-License-Identifier: MIT
// How well the quadratic model of a step predicted the loss, for Levenberg-Marquardt damping
// (Martens & Grosse 2015, section 6.5). The curvature is that of the generalised Gauss-Newton
// matrix along the step itself, d^T J^T H J d, with J d by a finite difference of the output: two
// more forward passes, no factors, the same in every placement.
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
class TrialPoint {
 public:
  /// After forward and loss at w. @param pass, batch those of the step. @param scale of the loss
  /// gradient: 1 / (samples of the global batch)
  TrialPoint(const nn::Pass& pass, const DeviceBatch& batch, double scale, nn::Graph& graph,
             const Objective& objective, const Context& context);
  /// After the update; collective. @param loss sum over all samples at w. Leaves the weights as
  /// they are.
  optim::Trial judge(double loss, double damping, const Config& config, Objective& objective);

 private:
  std::vector<core::Tensor> values() const;

  nn::Pass pass_;
  DeviceBatch batch_;
  double scale_;
  nn::Graph& graph_;
  const Context& context_;
  std::vector<core::Tensor> weights_;  ///< w
  core::Tensor output_, slopes_;       ///< host: z(w), d(loss)/dz times scale
};

}  // namespace isaribi::train
