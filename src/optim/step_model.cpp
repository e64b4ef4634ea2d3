// SPDX-License-Identifier: MIT
#include "optim/step_model.hpp"

namespace isaribi::optim {
namespace {

constexpr double kParallel = 1e-6;  // of pp qq: below, rounding decides the determinant

}  // namespace

StepSizes best_step(const LossModel::Plane& m) {
  StepSizes best;
  const double determinant = m.pp * m.qq - m.pq * m.pq;
  if (determinant > kParallel * m.pp * m.qq) {
    best.alpha = (m.qq * m.slope_p - m.pq * m.slope_q) / determinant;
    best.momentum = (m.pp * m.slope_q - m.pq * m.slope_p) / determinant;
  } else if (m.pp > 0) {
    best.alpha = m.slope_p / m.pp;
  }
  best.change = -0.5 * (best.alpha * m.slope_p + best.momentum * m.slope_q);
  return best;
}

}  // namespace isaribi::optim
