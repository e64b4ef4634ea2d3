// SPDX-License-Identifier: MIT
// The collectives of a group of ranks that somebody else makes: the MPI library, NCCL.
#pragma once

#include <cstdint>
#include <span>

#include "comm/communicator.hpp"

namespace isaribi::comm {

/// Sums f64, f32 or i32 in memory of the host, in an order of its own, the same in every run of the
/// same size. Otherwise as the calls of Communicator with these names. Every rank starts the same
/// ones in the same order. Destroying waits for other members, except while an exception unwinds.
class Collectives {
 public:
  virtual ~Collectives() = default;
  Collectives() = default;
  Collectives(const Collectives&) = delete;
  Collectives& operator=(const Collectives&) = delete;

  virtual Request start_all_reduce(core::Tensor in_place) = 0;
  virtual Request start_reduce_scatter_v(core::Tensor all, std::span<const std::int64_t> counts,
                                         core::Tensor mine) = 0;
  virtual Request start_all_gather_v(core::Tensor mine, std::span<const std::int64_t> counts,
                                     core::Tensor all) = 0;
};

}  // namespace isaribi::comm
