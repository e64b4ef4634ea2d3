// SPDX-License-Identifier: MIT
// A level of the MPI library, or of NCCL, as a black box: its reduce-scatter on the way down and
// its allgather on the way up, or, outermost and where a buffer goes both ways, one allreduce for
// both.
#pragma once

#include <deque>
#include <memory>
#include <vector>

#include "comm/allreduce/hierarchy.hpp"
#include "comm/allreduce/stage_exchange.hpp"
#include "comm/gpus.hpp"

namespace isaribi::comm {

class LibraryExchange final : public StageExchange {
 public:
  /// Collective over `comm`. @param exchange library or nccl. @param room for a stage.
  /// @throws CollectiveError
  LibraryExchange(Communicator& comm, const Hierarchy& hierarchy, Exchange exchange,
                  const GroupRoom& room, Leave leave);
  void enter(Run& run) override;
  bool progress() override;
  bool busy() const override;

 private:
  struct UnderWay {
    Run* run = nullptr;
    Request request;
  };
  Request start(Run& run);
  bool is_outermost(const Stage& stage) const { return stage.level == levels_ - 1; }

  int levels_;
  /// Two directions of a level are two groups: their calls may come in any order.
  std::vector<std::unique_ptr<Collectives>> members_;  ///< by stage, in their order; or null
  std::vector<std::deque<UnderWay>> lanes_;            ///< by stage
};

}  // namespace isaribi::comm
