// SPDX-License-Identifier: MIT
// Gradients summed on every rank. A bucket is a slice of the flat gradient: nothing is packed or
// copied. It leaves as soon as backward has passed its end (buckets as in PyTorch DDP, Li et al.,
// VLDB 2020).
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "comm/gradient_reducer.hpp"
#include "comm/reduction_plan.hpp"
#include "core/tensor.hpp"

namespace isaribi::comm {

/// The same bucket limits on every rank, and so the same sums in every run of the same number of
/// ranks.
class BucketReducer final : public GradientReducer {
 public:
  /// `gradients`: flat [count], f64 or f32, host memory, same count on every rank. `bucket_bytes` 0
  /// chooses: a quarter of all gradients, within 256 KiB and 4 MiB. One rank alone sends nothing.
  /// `error_feedback`: what the plan's roundings lose is added to the gradients of the next step.
  BucketReducer(Communicator& comm, AllReducePlan& plan, core::Tensor gradients,
                std::size_t bucket_bytes = 0, bool error_feedback = false);

  void ready(std::int64_t begin, std::int64_t end) override;
  void progress() override;
  void finish() override;
  core::Tensor residual() const override { return residual_; }

  std::size_t bucket_count() const { return buckets_.size(); }

 private:
  struct Bucket {
    core::Tensor slice, residual;  ///< residual: undefined without error feedback
    std::int64_t end = 0;          ///< in elements of the flat tensor
    Request request;
  };
  void start_up_to(std::int64_t ready_elements);
  void note_completion();

  AllReducePlan& plan_;
  bool alone_;
  core::Tensor gradients_, residual_;
  std::vector<Bucket> buckets_;
  std::int64_t ready_elements_ = 0;  ///< of this step
  std::size_t started_ = 0;          ///< buckets of this step, always in order
  std::size_t completed_ = 0;        ///< likewise
  double first_start_ = 0;
};

}  // namespace isaribi::comm
