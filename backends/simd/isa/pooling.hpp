// SPDX-License-Identifier: MIT
// Pooling rows: vectors of channels, windows walked by offset. Included by each ISA unit after its
// vec_*.hpp.
#pragma once

#include "backends/simd/isa/lanes.hpp"
#include "backends/simd/kernels.hpp"

namespace {

using isaribi::simd::PoolBackwardRow;
using isaribi::simd::PoolRow;

void max_pool_row(const PoolRow& a) {
  for (ptrdiff_t q = 0; q < a.columns; ++q) {
    const int shift = static_cast<int>(q) * a.position_step;
    each(a.channels, [&](ptrdiff_t c, auto m) {
      const float* x = a.x + q * a.x_pixel + c;
      vf best = get(x + a.offset[0], m);
      vi where = i_set(a.tap_position[0] + shift);
      for (int t = 1; t < a.taps; ++t) {
        const vf v = get(x + a.offset[t], m);
        const vmask better = v_beats(v, best);
        best = v_blend(better, best, v);
        where = i_blend(better, where, i_set(a.tap_position[t] + shift));
      }
      put(a.y + q * a.channels + c, best, m);
      put(a.argmax + q * a.channels + c, where, m);
    });
  }
}

void max_pool_backward_row(const PoolBackwardRow& a) {
  for (ptrdiff_t q = 0; q < a.columns; ++q) {
    const int shift = static_cast<int>(q) * a.position_step;
    each(a.channels, [&](ptrdiff_t c, auto m) {
      const vf g = get(a.dy + q * a.channels + c, m);
      const vi where = get(a.argmax + q * a.channels + c, m);
      float* dx = a.dx + q * a.dx_pixel + c;
      for (int t = 0; t < a.taps; ++t) {
        put(dx + a.offset[t], v_keep(i_equal(where, i_set(a.tap_position[t] + shift)), g), m);
      }
    });
  }
}

void average_pool_row(const PoolRow& a) {
  const vf scale = v_set(a.scale);
  for (ptrdiff_t q = 0; q < a.columns; ++q) {
    each(a.channels, [&](ptrdiff_t c, auto m) {
      const float* x = a.x + q * a.x_pixel + c;
      vf sum = get(x + a.offset[0], m);
      for (int t = 1; t < a.taps; ++t) sum = v_add(sum, get(x + a.offset[t], m));
      put(a.y + q * a.channels + c, v_mul(sum, scale), m);
    });
  }
}

}  // namespace
