// SPDX-License-Identifier: MIT
// The register tile compiled for AVX2 and FMA.
#include "backends/kokkos/tile_body.hpp"
#include "backends/kokkos/tile_variants.hpp"

namespace isaribi::kokkos {

HostTile<float> avx2_tile_f32() {
  return {6,
          run_tile<float, 6, 32, 2>,
          6,
          multiply_panels<float, 6, 32, 2>,
          store_panels<float>,
          pack_columns<float>,
          add_to_totals<float>,
          "avx2"};
}
HostTile<double> avx2_tile_f64() {
  return {6,
          run_tile<double, 6, 32, 2>,
          6,
          multiply_panels<double, 6, 32, 2>,
          store_panels<double>,
          pack_columns<double>,
          add_to_totals<double>,
          "avx2"};
}

}  // namespace isaribi::kokkos
