// SPDX-License-Identifier: MIT
#include "backends/simd/gemm_turned.hpp"

#include <algorithm>

#include "backends/simd/gemm_plan.hpp"
#include "backends/simd/parallel.hpp"

namespace isaribi::simd {
namespace {

Operand transposed(const Operand& x) {
  return {x.data, x.column, x.row};
}

/// Few columns of C leave lanes empty, and A^T lies in memory as rows.
bool few_columns(const Product& p, std::int64_t lanes) {
  constexpr std::int64_t kFewVectors = 8, kManyRows = 256;
  return p.a.row == 1 && p.m >= kManyRows && p.n <= kFewVectors * lanes &&
         8 * (round_up(p.n, lanes) - p.n) > p.n;
}

/// Few rows by a transposed B: A is packed instead of B. In cycles per element of B, fitted to an
/// Intel Xeon (family 6 model 207), 7 to 512 rows by 10,000 to 17 million elements: what is saved
/// against lanes that stay empty, turning C and what any product costs; a fiftieth of it to gain.
/// Nothing is saved unless m < n, so that the turned product is never turned again.
bool few_rows(const Product& p, std::int64_t lanes) {
  constexpr std::int64_t kPieces = 6, kShort = 64;  // other ways: by pieces, along the rows of C
  constexpr double kPack = 0.7, kEmpty = 1.5, kTurn = 1.5, kBegin = 4000;
  if (p.a.column != 1 || p.b.column == 1 || p.m <= kPieces || p.k <= kShort) return false;
  const auto m = static_cast<double>(p.m), n = static_cast<double>(p.n),
             k = static_cast<double>(p.k), step = 2.0 * static_cast<double>(lanes);
  const double empty = static_cast<double>(round_up(p.m, lanes) - p.m);
  return kPack * (1 - m / n) - kEmpty * empty / step - kTurn * m / k - kBegin / (n * k) >
         m / step / 50;
}

/// Rows [r.begin, r.end) of C from C^T, as many at a time as make a line of C^T.
void turn(const Product& p, const float* from, const Kernels& kernels, Range r) {
  for (std::int64_t i = r.begin; i < r.end; i += kLine) {
    const std::int64_t count = std::min(kLine, r.end - i);
    float* to = p.c + i * p.c_row;
    std::int64_t j = 0;
    for (; j + 8 <= p.n; j += 8)
      kernels.transpose_eight(from + j * p.m + i, p.m, count, p.c_row, to + j);
    for (; j < p.n; ++j) {
      for (std::int64_t y = 0; y < count; ++y) to[y * p.c_row + j] = from[j * p.m + i + y];
    }
    for (std::int64_t y = 0; y < count; ++y, to += p.c_row) {
      if (p.bias) {
        kernels.add(to, p.bias, to, p.n, p.relu);
      } else if (p.relu) {
        kernels.relu(to, to, p.n);
      }
    }
  }
}

}  // namespace

bool better_turned(const Product& p, const Kernels& kernels) {
  if (p.beta != 0.0f || p.b.packed || p.b.run > 0) return false;
  return few_columns(p, kernels.lanes) || few_rows(p, kernels.lanes);
}

void multiply_turned(const Product& p, Context& context) {
  float* c = context.ready().get<float>(Use::turned, p.m * p.n);
  multiply({.m = p.n,
            .n = p.m,
            .k = p.k,
            .a = transposed(p.b),
            .b = transposed(p.a),
            .c = c,
            .c_row = p.m,
            .alpha = p.alpha,
            .next = p.next},
           context);
  parallel_ranges(p.m, p.m * p.n, kLine, [&](Range r) { turn(p, c, context.kernels(), r); });
}

}  // namespace isaribi::simd
