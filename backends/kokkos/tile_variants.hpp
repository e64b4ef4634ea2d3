// SPDX-License-Identifier: MIT
// The variants of the register tile that CMake may build; tile_select_*.cpp choose among them.
#pragma once

#include "backends/kokkos/tile.hpp"

namespace isaribi::kokkos {

HostTile<float> baseline_tile_f32();
HostTile<double> baseline_tile_f64();
HostTile<float> avx2_tile_f32();
HostTile<double> avx2_tile_f64();
HostTile<float> avx512_tile_f32();
HostTile<double> avx512_tile_f64();

}  // namespace isaribi::kokkos
