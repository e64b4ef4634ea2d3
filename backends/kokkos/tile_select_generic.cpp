// SPDX-License-Identifier: MIT
// Where there is no choice of register tiles: the one built for the baseline of the architecture.
#include "backends/kokkos/tile_variants.hpp"

namespace isaribi::kokkos {

template <>
HostTiles<float> host_tiles<float>() {
  return {1, {baseline_tile_f32()}};
}

template <>
HostTiles<double> host_tiles<double>() {
  return {1, {baseline_tile_f64()}};
}

}  // namespace isaribi::kokkos
