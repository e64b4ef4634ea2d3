// SPDX-License-Identifier: MIT
// The register tile compiled for the baseline of the architecture (SSE2, NEON).
#include "backends/kokkos/tile_body.hpp"
#include "backends/kokkos/tile_variants.hpp"

namespace isaribi::kokkos {

HostTile<float> baseline_tile_f32() {
  return tile_of<float, 16, 6, 2, 6, 2>("baseline");
}
HostTile<double> baseline_tile_f64() {
  return tile_of<double, 16, 6, 2, 6, 2>("baseline");
}

}  // namespace isaribi::kokkos
