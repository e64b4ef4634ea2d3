// SPDX-License-Identifier: MIT
// How a gradient bucket is summed over ranks. The library's own allreduce is the first member of a
// family; a plan is picked by its key in the deck (comm/allreduce).
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "comm/owner_route.hpp"

namespace isaribi::comm {

/// Sums tensors over the ranks of one communicator. Several buckets may be under way at once; all
/// ranks start the same buckets in the same order. One thread owns start and progress.
class AllReducePlan {
 public:
  virtual ~AllReducePlan() = default;
  /// The key that picks it: "mpi", "rank_order".
  virtual std::string name() const = 0;
  /// One line for the log: what it does on this machine.
  virtual std::string description() const = 0;
  /// Begins the sum of `bucket` over ranks, in place; the bucket must not be touched until the
  /// request is complete.
  /// @param residual f32, as many elements as the bucket, or undefined: error feedback (Seide et
  /// al., Interspeech 2014; Karimireddy et al., ICML 2019). Where this rank rounds an element to
  /// send it, it rounds the element plus its residual, which then becomes what was lost. 0 before
  /// the first step; a plan that rounds nothing leaves it as it is.
  Request start(core::Tensor bucket, core::Tensor residual = {}) {
    return do_start(std::move(bucket), std::move(residual));
  }
  /// How sums reach owners beside it; null: as owner_exchange.hpp does by itself.
  virtual OwnerRoute* owner_route() { return nullptr; }

 private:
  virtual Request do_start(core::Tensor bucket, core::Tensor residual) = 0;
};

/// Keys that make_allreduce_plan knows.
std::vector<std::string> allreduce_plan_names();
/// Collective over `comm`, which must outlive the plan. @throws core::UsageError for an unknown
/// key.
std::unique_ptr<AllReducePlan> make_allreduce_plan(std::string_view key, Communicator& comm);

}  // namespace isaribi::comm
