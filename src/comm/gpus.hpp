// SPDX-License-Identifier: MIT
// The GPUs of the ranks, as far as sums over ranks may go between them: NCCL behind an interface,
// so that the program links neither it nor CUDA (nccl_module.hpp).
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "comm/collectives.hpp"

namespace isaribi::comm {

/// The GPU that one rank uses.
struct Gpu {
  std::string name;                                   ///< "0000:3b:00.0", on its node; empty: none
  std::string why_none = "nothing is known of GPUs";  ///< "no driver"
  int group = -1;  ///< numbers, on its node, those that reach each other's memory; -1: none
};

/// What a group has room for.
struct GroupRoom {
  std::size_t bytes = 0;  ///< of one collective's buffer, all parts together
  int at_once = 1;        ///< collectives under way
};

class Gpus {
 public:
  virtual ~Gpus() = default;
  /// Local: that of the rank with this number on its node.
  virtual Gpu gpu_of(int rank_on_node) = 0;
  /// What the members of a new group must know of it; made by one of them. @throws core::CommError
  virtual std::string new_group() = 0;
  /// Collective over the group. @param rank among `size` members. @throws core::CommError
  virtual std::unique_ptr<Collectives> join(const std::string& group, int rank, int size,
                                            int rank_on_node, const GroupRoom& room) = 0;
};

/// Collective: by Communicator::gpus(), or none.
Gpu gpu_of_this_rank(Communicator& comm);
/// Collective: those of the GPUs of the ranks of `group`. @throws CollectiveError
std::unique_ptr<Collectives> gpu_collectives(Communicator& group, int rank_on_node,
                                             const GroupRoom& room);

}  // namespace isaribi::comm
