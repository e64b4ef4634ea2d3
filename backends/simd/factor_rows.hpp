// SPDX-License-Identifier: MIT
// The second moment of patches as a symmetric product of the matrix they are the rows of, of which
// one triangle is computed.
#pragma once

#include <cstdint>

#include "backends/simd/context.hpp"
#include "backends/simd/factor_patches.hpp"

namespace isaribi::simd {

/// a (+)= scale sum over rows of p p^T, p a row and, with a bias, 1. Summed in f32 in blocks of
/// rows, as many of them as api::kSampleBlock samples are made of, so that they are the same
/// however samples are dealt out to ranks; across blocks in f64.
struct RowsFactor {
  PatchRows x;
  bool bias;
  double scale;
  bool accumulate;
};

/// `a`: the lower triangle, row by row. T: float or double.
template <typename T>
void run_rows(const RowsFactor& f, T* a, Context& context);

}  // namespace isaribi::simd
