// SPDX-License-Identifier: MIT
// From the gradient of a layer to its natural direction.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "backends/api/backend.hpp"
#include "optim/kfac/block.hpp"

namespace isaribi::optim::kfac {

/// Makes the directions of some layers. The products with the inverses are planned when inverses
/// are renewed, not in every step.
class LayerDirections {
 public:
  /// @param blocks the layers; they outlive it
  /// @param directions by the ids of the parameters: where directions go; empty: to block.direction
  LayerDirections(std::vector<Block*> blocks, std::span<const core::Tensor> directions,
                  api::Backend& backend);

  /// L2 decay by the ids of the parameters, to be added to the gradients.
  void set_decay(std::span<const double> decay);
  /// To be called when inverses have changed.
  void plan();

  /// Of each block block.gradient, [groups * outputs, columns], from the gradients of weight and
  /// bias (last column; a norm: [2, channels]), plus decay times the parameters; then the
  /// direction, and block.product. Cholesky: U = G^-1 grad A^-1 (damped). Eigen: U = Q_G ((Q_G^T
  /// grad Q_A) o divisors) Q_A^T. Norm: per channel, the 2 x 2 system with lambda on its diagonal
  /// (SP-NGD, Osawa et al. 2020).
  void run(double lambda);
  /// block.direction of all blocks, wherever directions went.
  void collect();

 private:
  struct Layer {
    Block* block;
    api::Concat gradient;
    std::vector<core::Tensor> parts;  ///< of weight and bias in `directions`, as columns
  };
  void list_products(const Layer& layer, std::vector<api::KroneckerProduct>& products);

  std::vector<Layer> layers_;
  std::unique_ptr<api::KroneckerPlan> products_;  ///< of the layers that have inverses, by groups
  std::vector<core::Tensor> directions_;
  std::vector<double> decay_;
  api::Backend& backend_;
};

/// The parts of block.direction that belong to weight and bias, in the tensors of `directions`,
/// whose shapes are those of the parameters.
void hand_out(const Block& block, std::span<const core::Tensor> directions, api::Backend& backend);

}  // namespace isaribi::optim::kfac
