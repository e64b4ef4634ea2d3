// SPDX-License-Identifier: MIT
// Sums by distance from fewer products, for kernels of three rows: with x_j = row h + j of x, and
// y_k = row h + k shifted sideways, the three vertical distances of rows h and h + 1
//   S_d = x_0 y_d^T + x_1 y_{d+1}^T,  d = 0, 1, 2,
// are a filter of two taps with three outputs, which takes four products instead of six (Winograd,
// Arithmetic Complexity of Computations, 1980; the F(3, 2) of Lavin & Gray 2016):
//   M1 = x_0 (y_0 - y_2)^T         S_0 = M1 + (M2 + M3) / 2
//   M2 = (x_0 + x_1) (y_1 + y_2)^T S_1 = (M2 - M3) / 2
//   M3 = (x_0 - x_1) (y_2 - y_1)^T S_2 = (M2 + M3) / 2 + M4
//   M4 = x_1 (y_3 - y_1)^T
// To the left only d = 1, 2 are needed, three products instead of four:
//   N1 = x_0 (y_2 - y_1)^T, N2 = (x_0 + x_1) y_2^T, N3 = x_1 (y_3 - y_2)^T,
//   S_1 = N2 - N1, S_2 = N2 + N3.
// The products are summed over all pairs of rows, so the sums and differences of rows are made once
// per sample, and those of products once per block of samples.
#pragma once

#include "backends/simd/factor_plan.hpp"

namespace isaribi::simd {

inline constexpr std::int64_t kPairRows = 7;  ///< rows made of each pair of rows

/// Makes the rows of all pairs of one plane of a staged image, behind it.
void make_pair_rows(const FactorPlan& plan, const Kernels& kernels, float* plane);

/// The products of one bundle: points [product][horizontal cell][rows][width].
class PairRun {
 public:
  PairRun(const FactorPlan& plan, const FactorBundle& bundle, const Kernels& kernels);
  std::int64_t size() const { return products_ * plan_.horizontal.cells() * size_; }
  /// Adds samples [0, samples) of `images`.
  void add(const float* images, std::int64_t samples, float* points, bool add) const;
  /// Writes the cells of plan.core of the items of the bundle, each `cells_size` behind the other.
  void finish(const float* points, float* cells, std::int64_t cells_size) const;

 private:
  const FactorPlan& plan_;
  const FactorBundle& bundle_;
  const Kernels& kernels_;
  const FactorItem& item_;
  std::int64_t products_, size_;
};

}  // namespace isaribi::simd
