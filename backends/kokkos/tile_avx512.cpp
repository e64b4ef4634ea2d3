// SPDX-License-Identifier: MIT
// The register tile compiled for AVX-512F.
#include "backends/kokkos/tile_body.hpp"
#include "backends/kokkos/tile_variants.hpp"

namespace isaribi::kokkos {

HostTile<float> avx512_tile_f32() {
  return tile_of<float, 64, 8, 1, 12, 2>("avx512");
}
HostTile<double> avx512_tile_f64() {
  return tile_of<double, 64, 8, 1, 12, 2>("avx512");
}

}  // namespace isaribi::kokkos
