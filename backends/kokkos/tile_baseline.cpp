// SPDX-License-Identifier: MIT
// The register tile compiled for the baseline of the architecture (SSE2, NEON).
#include "backends/kokkos/tile_body.hpp"
#include "backends/kokkos/tile_variants.hpp"

namespace isaribi::kokkos {

HostTile<float> baseline_tile_f32() {
  return {6,
          run_tile<float, 6, 16, 2>,
          6,
          multiply_panels<float, 6, 16, 2>,
          store_panels<float>,
          pack_columns<float>,
          add_to_totals<float>,
          "baseline"};
}
HostTile<double> baseline_tile_f64() {
  return {6,
          run_tile<double, 6, 16, 2>,
          6,
          multiply_panels<double, 6, 16, 2>,
          store_panels<double>,
          pack_columns<double>,
          add_to_totals<double>,
          "baseline"};
}

}  // namespace isaribi::kokkos
