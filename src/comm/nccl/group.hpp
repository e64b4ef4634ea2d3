// SPDX-License-Identifier: MIT
// One group of ranks that talk through NCCL.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "comm/gpus.hpp"

namespace isaribi::comm::nccl {

/// The name of a new group (an ncclUniqueId).
std::string new_id();

/// One communicator on one stream. A collective is: copy in, collective, copy out, in the order of
/// the stream; no call waits for the GPU.
class Group final : public Collectives {
 public:
  /// Collective over the members; `device` of this process.
  Group(const std::string& id, int rank, int size, int device, const GroupRoom& room);

  Request start_all_reduce(core::Tensor in_place) override;
  /// Equal counts by ncclReduceScatter, others by one ncclReduce per member in one launch.
  Request start_reduce_scatter_v(core::Tensor all, std::span<const std::int64_t> counts,
                                 core::Tensor mine) override;
  /// Equal counts by ncclAllGather, others by one ncclBroadcast per member in one launch.
  Request start_all_gather_v(core::Tensor mine, std::span<const std::int64_t> counts,
                             core::Tensor all) override;

  /// What collectives under way share with their group, which may end before they do.
  struct Queue;

 private:
  /// `from` goes to element `in` of device memory as long as `room`; then `calls`; then what stands
  /// at element `out` goes to `to`. Types are those of `to`.
  Request enqueue(const core::Tensor& from, std::int64_t in, std::int64_t room,
                  const std::function<void(std::byte* device)>& calls, std::int64_t out,
                  const core::Tensor& to);

  std::shared_ptr<Queue> queue_;
  int rank_;
};

}  // namespace isaribi::comm::nccl
