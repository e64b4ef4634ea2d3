// SPDX-License-Identifier: MIT
// Step size and momentum from the quadratic model (Martens & Grosse 2015, section 7; Adaptive
// momentum): the step d = -(alpha U + mu V), U the direction and V the step before, that minimises
// M(d) = g^T d + 1/2 d^T (F + lambda I) d.
#pragma once

#include "optim/optimizer.hpp"

namespace isaribi::optim {

struct StepSizes {
  double alpha = 0;     ///< of the direction
  double momentum = 0;  ///< mu, of the step before
  double change = 0;    ///< M(d), negative unless the direction does not descend
};

/// The minimum in the plane. @param model with damping and weight decay in its terms. Directions
/// that are parallel to working precision leave out V; no curvature along U gives alpha = 0.
StepSizes best_step(const LossModel::Plane& model);

}  // namespace isaribi::optim
