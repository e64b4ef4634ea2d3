// SPDX-License-Identifier: MIT
// From the gradient of a layer to its natural direction.
#pragma once

#include <span>

#include "backends/api/backend.hpp"
#include "optim/kfac/block.hpp"

namespace isaribi::optim::kfac {

/// Of each block block.gradient, [groups * outputs, columns], from the gradients of weight and bias
/// (last column; a norm: [2, channels]), plus decay[id] times the parameters, if `decay` is not
/// empty; then the direction, and block.product. Cholesky: U = G^-1 grad A^-1 (damped). Eigen: U =
/// Q_G ((Q_G^T grad Q_A) o divisors) Q_A^T. Norm: per channel, the 2 x 2 system with lambda on its
/// diagonal (SP-NGD, Osawa et al. 2020). Directions go to the tensors of `directions` by the ids of
/// the parameters; where there are none, to block.direction.
void precondition(std::span<Block* const> blocks, std::span<const double> decay, double lambda,
                  std::span<const core::Tensor> directions, api::Backend& backend);

/// The parts of block.direction that belong to weight and bias, in the tensors of `directions`,
/// whose shapes are those of the parameters.
void hand_out(const Block& block, std::span<const core::Tensor> directions, api::Backend& backend);

/// block.direction from the tensors of `directions`.
void collect_direction(const Block& block, std::span<const core::Tensor> directions,
                       api::Backend& backend);

}  // namespace isaribi::optim::kfac
