// SPDX-License-Identifier: MIT
// The register tile compiled for AVX2 and FMA.
#include "backends/kokkos/tile_body.hpp"
#include "backends/kokkos/tile_variants.hpp"

namespace isaribi::kokkos {

HostTile<float> avx2_tile_f32() {
  return tile_of<float, 32, 6, 2, 6, 2>("avx2");
}
HostTile<double> avx2_tile_f64() {
  return tile_of<double, 32, 6, 2, 6, 2>("avx2");
}

}  // namespace isaribi::kokkos
