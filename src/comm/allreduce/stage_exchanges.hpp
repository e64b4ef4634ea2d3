// SPDX-License-Identifier: MIT
// Who does the stages of a hierarchy, level by level. Internal to ScheduleRunner.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "comm/allreduce/message_queue.hpp"
#include "comm/allreduce/schedule_options.hpp"
#include "comm/allreduce/stage_exchange.hpp"

namespace isaribi::comm {

class StageExchanges {
 public:
  /// Collective over `comm`; all arguments must outlive it. @throws as ScheduleRunner
  StageExchanges(Communicator& comm, const Hierarchy& hierarchy, const ScheduleOptions& options,
                 MessageQueue& queue, StageExchange::Leave leave);

  StageExchange& of(int level) { return *of_level_[static_cast<std::size_t>(level)]; }
  /// As StageExchange, of any of them.
  bool progress();
  bool busy() const;
  /// Bytes.
  std::int64_t largest_segment() const { return largest_segment_; }

 private:
  std::vector<std::unique_ptr<StageExchange>> all_;
  std::vector<StageExchange*> of_level_;
  std::int64_t largest_segment_;
};

}  // namespace isaribi::comm
