// SPDX-License-Identifier: MIT
// Chooses the register tile on x86-64.
#include "backends/kokkos/tile_variants.hpp"

namespace isaribi::kokkos {
namespace {

template <typename T>
HostTiles<T> usable(HostTile<T> (*avx512)(), HostTile<T> (*avx2)(), HostTile<T> (*baseline)()) {
  HostTiles<T> tiles;
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("fma"))
    tiles.list[tiles.count++] = avx512();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
    tiles.list[tiles.count++] = avx2();
  tiles.list[tiles.count++] = baseline();
  return tiles;
}

}  // namespace

template <>
HostTiles<float> host_tiles<float>() {
  return usable(avx512_tile_f32, avx2_tile_f32, baseline_tile_f32);
}

template <>
HostTiles<double> host_tiles<double>() {
  return usable(avx512_tile_f64, avx2_tile_f64, baseline_tile_f64);
}

}  // namespace isaribi::kokkos
