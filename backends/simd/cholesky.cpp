// SPDX-License-Identifier: MIT
// Left-looking Cholesky by block columns (Golub & Van Loan, section 4.2.8), then A^-1 = W^T W with
// W = L^-1 by block rows. Everything of order n^3 is a product; a diagonal block is factored and
// inverted by one kernel, and the blocks below it are multiplied by its inverse instead of solved
// with (as in MAGMA: Dongarra et al. 2014), whose error grows with the condition of that block
// only.
#include "backends/simd/cholesky.hpp"

#include <algorithm>

#include "backends/simd/gemm.hpp"

namespace isaribi::simd {
namespace {

constexpr std::int64_t kColumns = 128;  // of W at once: how finely its zeros are left out
constexpr std::int64_t kAlone = 320;    // rows; of fewer, threads wait for each other's lines

/// A product of the factor or the inverse of n rows.
void multiply(std::int64_t n, const Product& p, Context& context) {
  n < kAlone ? multiply_share(p, context, 0, 1) : simd::multiply(p, context);
}

}  // namespace

int cholesky_f32(float* a, std::int64_t n, Context& context) {
  const Kernels& kernels = context.kernels();
  float* inverse = context.ready().get<float>(Use::sums, kTriangle * kTriangle);
  float* below = context.ready().get<float>(Use::partial, n * kTriangle);
  for (std::int64_t k = 0; k < n; k += kTriangle) {
    const std::int64_t width = std::min<std::int64_t>(kTriangle, n - k), rest = n - k - width;
    float *left = a + k * n, *block = left + k;
    if (k > 0)  // A[k.., k..] -= L[k.., ..k] L[k.., ..k]^T
      multiply(n, {n - k, width, k, {left, n, 1}, {left, 1, n}, block, n, -1.0f, 1.0f}, context);
    const TriangleBlock triangle{block, n, width, inverse};
    if (const int info = kernels.cholesky_block(triangle)) return static_cast<int>(k) + info;
    if (rest == 0) break;
    if (const int info = kernels.invert_triangle(triangle)) return static_cast<int>(k) + info;
    float* under = block + width * n;
    multiply(n, {rest, width, width, {under, n, 1}, {inverse, 1, kTriangle}, below, width},
             context);
    for (std::int64_t i = 0; i < rest; ++i) std::copy_n(below + i * width, width, under + i * n);
  }
  for (std::int64_t i = 0; i < n; ++i) std::fill(a + i * n + i + 1, a + (i + 1) * n, 0.0f);
  return 0;
}

int cholesky_inverse_f32(float* a, std::int64_t n, Context& context) {
  const Kernels& kernels = context.kernels();
  float* diagonal = context.ready().get<float>(Use::sums, kTriangle * kTriangle);
  float* product = context.ready().get<float>(Use::partial, kTriangle * n);
  float* w = context.ready().get<float>(Use::result, n * n);
  for (std::int64_t k = 0; k < n; k += kTriangle) {
    const std::int64_t rows = std::min<std::int64_t>(kTriangle, n - k);
    if (const int info = kernels.invert_triangle({a + k * n + k, n, rows, diagonal}))
      return static_cast<int>(k) + info;
    float* row = w + k * n;
    for (std::int64_t j = 0; j < k; j += kColumns) {  // W is 0 above row j there
      const std::int64_t columns = std::min(kColumns, k - j);
      multiply(n,
               {rows, columns, k - j, {a + k * n + j, n, 1}, {w + j * n + j, n, 1}, product + j, k},
               context);
    }
    if (k > 0)
      multiply(n, {rows, k, rows, {diagonal, kTriangle, 1}, {product, k, 1}, row, n, -1.0f},
               context);
    for (std::int64_t i = 0; i < rows; ++i) {
      std::copy_n(diagonal + i * kTriangle, rows, row + i * n + k);
      std::fill(row + i * n + k + rows, row + (i + 1) * n, 0.0f);
    }
  }
  for (std::int64_t k = 0; k < n; k += kTriangle) {  // W^T W, of which rows before k add nothing
    const std::int64_t rows = std::min<std::int64_t>(kTriangle, n - k);
    const float* from = w + k * n;
    multiply(n, {rows, k + rows, n - k, {from + k, 1, n}, {from, n, 1}, a + k * n, n}, context);
  }
  mirror_lower(a, n, context);
  return 0;
}

}  // namespace isaribi::simd
