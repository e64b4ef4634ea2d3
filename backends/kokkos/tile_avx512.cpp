// SPDX-License-Identifier: MIT
// The register tile compiled for AVX-512F.
#include "backends/kokkos/tile_body.hpp"
#include "backends/kokkos/tile_variants.hpp"

namespace isaribi::kokkos {

HostTile<float> avx512_tile_f32() {
  return {8,
          run_tile<float, 8, 64, 1>,
          12,
          multiply_panels<float, 12, 64, 2>,
          store_panels<float>,
          pack_columns<float>,
          add_to_totals<float>,
          "avx512"};
}
HostTile<double> avx512_tile_f64() {
  return {8,
          run_tile<double, 8, 64, 1>,
          12,
          multiply_panels<double, 12, 64, 2>,
          store_panels<double>,
          pack_columns<double>,
          add_to_totals<double>,
          "avx512"};
}

}  // namespace isaribi::kokkos
