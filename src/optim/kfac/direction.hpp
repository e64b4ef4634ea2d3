// SPDX-License-Identifier: MIT
// From the gradient of a layer to its natural direction.
#pragma once

#include <span>

#include "backends/api/backend.hpp"
#include "optim/kfac/block.hpp"

namespace isaribi::optim::kfac {

/// block.gradient from the gradients of weight and bias (last column); a norm: [2, channels]. Plus
/// decay[id] times the parameters, if `decay` is not empty.
void collect_gradient(Block& block, std::span<const double> decay, api::Backend& backend);

/// block.direction from block.gradient, both [groups * outputs, columns], and block.product.
/// Cholesky: U = G^-1 grad A^-1 (damped). Eigen: U = Q_G ((Q_G^T grad Q_A) o divisors) Q_A^T.
/// Norm: per channel, the 2 x 2 system with lambda on its diagonal (SP-NGD, Osawa et al. 2020).
void precondition(Block& block, double lambda, api::Backend& backend);

/// The parts of block.direction that belong to weight and bias, in the given tensors, whose shapes
/// are those of the parameters (`bias` undefined without one).
void hand_out(const Block& block, const core::Tensor& weight, const core::Tensor& bias,
              api::Backend& backend);

}  // namespace isaribi::optim::kfac
