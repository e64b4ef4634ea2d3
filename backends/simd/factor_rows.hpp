// SPDX-License-Identifier: MIT
// The second moment of what has one position per sample: a product, of which one triangle is
// computed.
#pragma once

#include <cstdint>

#include "backends/simd/context.hpp"

namespace isaribi::simd {

/// a (+)= scale sum over samples of p p^T, p a row of x [n, in] and, with a bias, 1: f32 in blocks
/// of api::kSampleBlock samples, across blocks f64.
struct RowsFactor {
  const float* x;
  std::int64_t n, in;
  bool bias;
  double scale;
  bool accumulate;
};

/// `a`: the lower triangle, row by row. T: float or double.
template <typename T>
void run_rows(const RowsFactor& f, T* a, Context& context);

}  // namespace isaribi::simd
