// SPDX-License-Identifier: MIT
// The second moment of patches of few channels, for stride 1. As in factor_plan.hpp, block (t, t')
// is the sum over the window of tap t of x[h, w, c] x[h + dh, w + dw, c'], (dh, dw) = t' - t. Here
// an image is stored channel by channel and the lanes of a vector are neighbouring columns: the
// product of two shifted rows is summed over rows and samples, and lanes stay apart, so that the
// windows of all taps across are sums of lanes, taken once per block of samples. Few channels would
// leave most lanes of an outer product empty, and cut the image into many small cells. Of a single
// channel the rows that every vertical distance needs are summed for all of them at once.
#pragma once

#include <cstdint>
#include <vector>

#include "backends/api/factor.hpp"
#include "backends/simd/context.hpp"
#include "backends/simd/factor_plan.hpp"
#include "backends/simd/factor_run.hpp"
#include "backends/simd/parallel.hpp"

namespace isaribi::simd {

/// What a load across two cache lines takes, in multiply-adds of vectors (measured: 2 cycles).
inline constexpr double kSplitLoad = 4.0;

struct ColumnPlan {
  std::int64_t n = 0, h = 0, w = 0, channels = 0;
  std::int64_t groups = 1, per = 0, kh = 1, kw = 1, length = 0;
  std::int64_t dilation_h = 1, dilation_w = 1, pad_top = 0, pad_left = 0, out_h = 0, out_w = 0;
  std::int64_t lanes = 1, vectors = 0;           ///< of a row
  std::int64_t pitch = 0, plane = 0, image = 0;  ///< elements of a row with its margin, and so on
  Range core;                                    ///< rows that all distances sum at once
  double cost = 0;                               ///< vector operations per sample
  std::vector<FactorAxis> bands;                 ///< [dh]: how the rows are cut
  std::vector<float> seen;  ///< [w][lanes]: 1 where column w is in the window of tap s

  std::int64_t width() const { return vectors * lanes; }
  /// Horizontal distances at vertical distance `dh`, and the least of them.
  std::int64_t shifts(std::int64_t dh) const { return dh == 0 ? kw : 2 * kw - 1; }
  std::int64_t least_shift(std::int64_t dh) const { return dh == 0 ? 0 : 1 - kw; }
  bool at_once() const { return core.end > core.begin; }
  /// Pieces of the work on one group of a block of samples.
  std::int64_t units() const { return at_once() ? 1 : kh; }
  /// Where the sums over `core` at one distance lie.
  std::int64_t core_of(std::int64_t dh, std::int64_t shift) const {
    return (dh * (2 * kw - 1) + shift + kw - 1) * width();
  }
};

/// Fills `plan`. @return false where this way does not apply.
bool make_column_plan(const api::PatchCovariance& args, const Kernels& kernels, ColumnPlan& plan);

/// The unscaled sums of x over all samples, in scratch memory of the context.
FactorSums run_columns(const ColumnPlan& plan, const float* x, Context& context);

}  // namespace isaribi::simd
