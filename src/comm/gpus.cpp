// SPDX-License-Identifier: MIT
#include "comm/gpus.hpp"

#include "comm/agreement.hpp"

namespace isaribi::comm {

Gpu gpu_of_this_rank(Communicator& comm) {
  if (comm.gpus() == nullptr) return {};
  return comm.gpus()->gpu_of(comm.split_node()->rank());
}

std::unique_ptr<Collectives> gpu_collectives(Communicator& group, int rank_on_node,
                                             const GroupRoom& room) {
  std::string name;
  std::unique_ptr<Collectives> joined;
  run_together(group, [&] {
    if (group.gpus() == nullptr)
      throw core::UsageError("sums by NCCL: nothing is known of GPUs",
                             "ring, direct and shared levels need none");
  });
  run_on_root(group, [&] { name = group.gpus()->new_group(); });
  name = group.broadcast_string(name);
  run_together(group, [&] {
    joined = group.gpus()->join(name, group.rank(), group.size(), rank_on_node, room);
  });
  return joined;
}

}  // namespace isaribi::comm
