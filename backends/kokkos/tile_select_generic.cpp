// SPDX-License-Identifier: MIT
// Where there is no choice of register tiles: the one built for the baseline of the architecture.
#include "backends/kokkos/tile_variants.hpp"

namespace isaribi::kokkos {

template <>
HostTile<float> host_tile<float>() {
  return baseline_tile_f32();
}

template <>
HostTile<double> host_tile<double>() {
  return baseline_tile_f64();
}

}  // namespace isaribi::kokkos
