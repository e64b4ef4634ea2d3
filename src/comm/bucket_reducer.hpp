// SPDX-License-Identifier: MIT
// Sums gradients over ranks while backward still runs. The gradients of all parameters lie in one
// flat tensor, those that backward finishes first at the front, so that a bucket is a slice of it:
// nothing is packed or copied. A bucket leaves as soon as backward has passed its end (buckets as
// in PyTorch DDP, Li et al., VLDB 2020).
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "comm/reduction_plan.hpp"
#include "core/tensor.hpp"

namespace isaribi::comm {

struct ReducerStats {
  std::int64_t steps = 0;
  std::int64_t buckets = 0;      ///< summed over steps
  std::int64_t bytes = 0;        ///< gradient bytes handed to the plan
  double in_flight_seconds = 0;  ///< first start to last completion noticed, summed over steps
  double exposed_seconds = 0;    ///< blocked in finish(): what backward did not hide
};

/// Per step: ready(begin, end) as backward finishes ranges, progress() between layers, finish()
/// before the update. The same bucket limits on every rank, and so the same sums in every run of
/// the same number of ranks.
class GradientReducer {
 public:
  /// `gradients`: flat [count], f64 or f32, host memory, same count on every rank. `bucket_bytes` 0
  /// chooses: a quarter of all gradients, within 256 KiB and 4 MiB. One rank alone sends nothing.
  GradientReducer(Communicator& comm, AllReducePlan& plan, core::Tensor gradients,
                  std::size_t bucket_bytes = 0);

  /// Elements [begin, end) are final on this rank; ranges arrive in increasing order without gaps
  /// (what nn::Graph::backward promises). @throws core::InternalError otherwise.
  void ready(std::int64_t begin, std::int64_t end);
  /// Lets the reductions under way move on; cheap.
  void progress();
  /// Sends what was not announced, waits for all: the flat tensor then holds the sums over ranks.
  void finish();

  std::size_t bucket_count() const { return buckets_.size(); }
  /// Since construction or the last reset_stats().
  const ReducerStats& stats() const { return stats_; }
  void reset_stats() { stats_ = {}; }

 private:
  struct Bucket {
    core::Tensor slice;
    std::int64_t end = 0;  ///< in elements of the flat tensor
    Request request;
  };
  void start_up_to(std::int64_t ready_elements);
  void note_completion();

  AllReducePlan& plan_;
  bool alone_;
  core::Tensor gradients_;
  std::vector<Bucket> buckets_;
  std::int64_t ready_elements_ = 0;  ///< of this step
  std::size_t started_ = 0;          ///< buckets of this step, always in order
  std::size_t completed_ = 0;        ///< likewise
  double first_start_ = 0;
  ReducerStats stats_;
};

}  // namespace isaribi::comm
