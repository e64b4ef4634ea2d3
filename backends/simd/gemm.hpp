// SPDX-License-Identifier: MIT
// f32 matrix product and symmetric rank-k update of our own, on the register tile of the chosen
// instruction set. The sum over K of one element is taken in the same order for any number of
// threads and any place in the matrix.
#pragma once

#include <cstdint>

#include "backends/simd/context.hpp"

namespace isaribi::simd {

/// A row-major operand of which element (i, j) is data[i row + j column]; one of the strides is 1.
/// Of B with a `run`, rows come in runs of so many, `run_step` elements apart: the pixels that a
/// strided convolution meets. Or B is packed (pack_panels), which has no strides.
struct Operand {
  const float* data;
  std::int64_t row, column;
  std::int64_t run = 0, run_step = 0;
  bool packed = false;
};

/// C[m, n] = act(alpha A[m, k] B[k, n] + beta C + bias[n]), C row-major with `c_row` elements per
/// row; beta = 0 does not read C.
struct Product {
  std::int64_t m, n, k;
  Operand a, b;
  float* c;
  std::int64_t c_row;
  float alpha = 1.0f, beta = 0.0f;
  const float* bias = nullptr;
  bool relu = false;
  LinesAhead next{};  ///< what is read after this product: fetched near its end
};

void multiply(const Product& p, Context& context);

/// Share `part` of `parts` of the rows of C, by the calling thread alone, whose scratch memory must
/// be ready (Context::ready).
void multiply_share(const Product& p, Context& context, int part, int parts);

/// B as multiply_share reads it in panels, for a B that many products have: all of `p` but a.data
/// and c must be as in those, which have one share. `to`: k elements per column, and for columns up
/// to a whole vector.
void pack_panels(const Product& p, const Kernels& kernels, float* to);

/// As multiply for a product that is symmetric (m = n, B = A^T): only tiles that touch the lower
/// triangle are computed, then mirrored, so that both triangles are bitwise equal.
void multiply_symmetric(const Product& p, Context& context);

/// The upper triangle of c [n, n] (rows of n elements) from its lower one.
void mirror_lower(float* c, std::int64_t n, Context& context);

}  // namespace isaribi::simd
