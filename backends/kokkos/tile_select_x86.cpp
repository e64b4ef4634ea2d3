// SPDX-License-Identifier: MIT
// Chooses the register tile on x86-64.
#include "backends/kokkos/tile_variants.hpp"

namespace isaribi::kokkos {
namespace {

bool has_avx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("fma");
}
bool has_avx2() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

}  // namespace

template <>
HostTile<float> host_tile<float>() {
  return has_avx512() ? avx512_tile_f32() : has_avx2() ? avx2_tile_f32() : baseline_tile_f32();
}

template <>
HostTile<double> host_tile<double>() {
  return has_avx512() ? avx512_tile_f64() : has_avx2() ? avx2_tile_f64() : baseline_tile_f64();
}

}  // namespace isaribi::kokkos
