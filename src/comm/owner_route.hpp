// SPDX-License-Identifier: MIT
// The way that sums take to their owners, and what owners give to all: without a route by a direct
// exchange and by the MPI library (owner_exchange.hpp).
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "comm/communicator.hpp"

namespace isaribi::comm {

class OwnerRoute {
 public:
  virtual ~OwnerRoute() = default;
  /// One line for the log.
  virtual std::string description() const = 0;
  /// How many ranks it joins: all of a job. It serves groups of as many, which are the same ranks
  /// in the same order.
  virtual int ranks() const = 0;

  /// Whether it takes sums of `bytes` on the wire: only in an order of additions that does not
  /// depend on who owns what, because owners may follow a timing. The same on every rank.
  virtual bool sums(std::int64_t bytes) const = 0;
  /// Where sums(): as Communicator::start_reduce_scatter_v, f64 that travel as `wire`, rounded once
  /// a level.
  virtual Request start_sums(core::Tensor all, std::span<const std::int64_t> counts,
                             core::Tensor mine, core::DType wire) = 0;
  /// Whether it takes copies of `bytes`. The same on every rank.
  virtual bool copies(std::int64_t bytes) const = 0;
  /// Where copies(): as Communicator::start_all_gather_v, of i32 words, unchanged.
  virtual Request start_copies(core::Tensor mine, std::span<const std::int64_t> counts,
                               core::Tensor all) = 0;

  /// Local: what this way is for one rank of each node. @param leaders the first rank of each node,
  /// in order, which must outlive it; @param first their ranks, consecutive ones being of a node
  virtual std::unique_ptr<OwnerRoute> between_nodes(Communicator& leaders,
                                                    std::span<const int> first) const = 0;
};

}  // namespace isaribi::comm
