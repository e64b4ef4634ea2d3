// SPDX-License-Identifier: MIT
// Patches of a convolution as rows of a matrix.
#pragma once

#include <cstdint>

#include "backends/api/factor.hpp"

namespace isaribi::simd {

/// Row t of sample n, of `positions`, is the patch at output position t: [kh, kw, channels].
class PatchRows {
 public:
  /// One group; args.x must outlive this.
  explicit PatchRows(const api::PatchCovariance& args);

  std::int64_t positions() const { return out_h_ * out_w_; }
  std::int64_t rows() const { return n_ * positions(); }
  std::int64_t columns() const { return kh_ * kw_ * channels_; }
  /// Where the rows lie one behind the other; or nullptr.
  const float* in_place() const { return in_place_ ? x_ : nullptr; }
  void copy(std::int64_t row, float* to) const;

 private:
  const float* x_;
  std::int64_t n_, h_, w_, channels_, kh_, kw_;
  api::ConvGeometry g_;
  std::int64_t out_h_, out_w_;
  bool in_place_;
};

}  // namespace isaribi::simd
