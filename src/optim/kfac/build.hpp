// SPDX-License-Identifier: MIT
// The blocks of a network, what inverting them costs, and their memory.
#pragma once

#include <cstdint>
#include <vector>

#include "comm/communicator.hpp"
#include "optim/kfac/block.hpp"
#include "optim/kfac/placement.hpp"
#include "optim/kfac/settings.hpp"
#include "optim/optimizer.hpp"

namespace isaribi::optim::kfac {

enum class Kind : std::uint8_t { kfac, ekfac, foof };

/// The settings with what the kind decides: how factors are inverted.
KfacSettings resolved(Kind kind, KfacSettings settings);

/// The blocks of all layers, without memory. @throws UsageError naming a layer whose curvature is
/// not known or that the settings cannot treat.
std::vector<Block> make_blocks(Kind kind, std::span<const nn::CurvedLayer> layers);

/// Seconds that one inversion of a symmetric matrix takes, from timings at a few sizes; between
/// them t grows by a power of the dimension, beyond them by its cube.
class InverseCost {
 public:
  /// Times Cholesky and inverse in f32 on `backend`, about 20 ms in all.
  static InverseCost measure(api::Backend& backend);
  /// The same on every rank: that of rank 0. Collective.
  static InverseCost agreed(api::Backend& backend, comm::Communicator& comm);
  double seconds(double dim) const;
  /// Of both factors of a block, all groups.
  double seconds(const Block& block) const;

 private:
  std::vector<double> dims_, seconds_;
};

/// Bytes of K-FAC on one rank, and of all its factors and inverses as they travel.
struct Sizes {
  double statistics = 0;  ///< sums; on a device once there and once on the host
  double averages = 0;
  double inverses = 0;  ///< Cholesky, on owners: and as much room for the next ones
  double packed = 0;    ///< of inverses of A, where a plan of directions packs them
  double directions = 0;
  double wire_factors = 0, wire_inverses = 0, wire_directions = 0;  ///< of all layers
};
Sizes sizes_of(const std::vector<Block>& blocks, const Placement& placement, int rank,
               const KfacSettings& settings, core::DType type);

/// Gives the blocks the memory that this rank needs.
void allocate(std::vector<Block>& blocks, const Placement& placement, int rank,
              const KfacSettings& settings, api::Backend& backend);

}  // namespace isaribi::optim::kfac
