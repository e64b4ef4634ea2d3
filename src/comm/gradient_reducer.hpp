// SPDX-License-Identifier: MIT
// Sums gradients over ranks while backward still runs. The gradients of all parameters lie in one
// flat tensor, those that backward finishes first at the front.
#pragma once

#include <cstdint>

#include "core/tensor.hpp"

namespace isaribi::comm {

struct ReducerStats {
  std::int64_t steps = 0;
  std::int64_t buckets = 0;      ///< summed over steps
  std::int64_t bytes = 0;        ///< gradient bytes handed over
  double in_flight_seconds = 0;  ///< first start to last completion noticed, summed over steps
  double exposed_seconds = 0;    ///< blocked in finish(): what backward did not hide
};

/// Per step: ready(begin, end) as backward finishes ranges, progress() between layers, finish()
/// before the update.
class GradientReducer {
 public:
  virtual ~GradientReducer() = default;
  GradientReducer() = default;
  GradientReducer(const GradientReducer&) = delete;
  GradientReducer& operator=(const GradientReducer&) = delete;

  /// Elements [begin, end) are final on this rank; ranges arrive in increasing order without gaps
  /// (what nn::Graph::backward promises). @throws core::InternalError otherwise.
  virtual void ready(std::int64_t begin, std::int64_t end) = 0;
  /// Lets what is under way move on; cheap.
  virtual void progress() = 0;
  /// Sends what was not announced, waits for all: the ranks that need a gradient then have its sum.
  virtual void finish() = 0;

  /// What the roundings of this rank have lost so far and the next sums will make up for (error
  /// feedback), part of the state of a run: [count] f32; undefined without error feedback.
  virtual core::Tensor residual() const { return {}; }
  /// Since construction or the last reset_stats().
  const ReducerStats& stats() const { return stats_; }
  void reset_stats() { stats_ = {}; }

 protected:
  ReducerStats stats_;
};

}  // namespace isaribi::comm
