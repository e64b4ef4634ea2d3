// SPDX-License-Identifier: MIT
// How a gradient bucket is summed over ranks. The library's own allreduce is the first member of a
// family; a plan is picked by its key in the deck (comm/allreduce).
#pragma once

#include <memory>
#include <string>
#include <string_view>
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
  virtual Request start(core::Tensor bucket) = 0;
  /// How sums reach owners beside it; null: as owner_exchange.hpp does by itself.
  virtual OwnerRoute* owner_route() { return nullptr; }
};

/// Keys that make_allreduce_plan knows.
std::vector<std::string> allreduce_plan_names();
/// Collective over `comm`, which must outlive the plan. @throws core::UsageError for an unknown
/// key.
std::unique_ptr<AllReducePlan> make_allreduce_plan(std::string_view key, Communicator& comm);

}  // namespace isaribi::comm
