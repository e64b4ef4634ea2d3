// SPDX-License-Identifier: MIT
// Sums buffers over ranks along one hierarchy, or scatters such sums or gathers parts, without
// waiting: a buffer is cut into segments, and each walks the stages of its schedule by itself, so
// that while one segment crosses the slow links of an outer level the next one is on the fast links
// inside. Progress is made by whoever calls test() or wait(): the main thread, or a ProgressThread,
// one at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "comm/allreduce/schedule.hpp"
#include "comm/allreduce/schedule_options.hpp"
#include "comm/communicator.hpp"

namespace isaribi::comm {

class ScheduleRunner {
 public:
  /// Collective over `comm`, which must outlive it. Its messages are apart from all others.
  /// @throws on every rank CollectiveError, naming ranks, hosts and plans where those are not the
  /// same, or where a node lacks memory for a shared level; core::UsageError when such a level
  /// joins ranks of several nodes or the library would have to send a narrow type.
  ScheduleRunner(Communicator& comm, const RankOrder& order,
                 const std::vector<HierarchyLevel>& levels, ScheduleOptions options = {});
  /// Collective as the destruction of a Communicator.
  ~ScheduleRunner();
  ScheduleRunner(const ScheduleRunner&) = delete;
  ScheduleRunner& operator=(const ScheduleRunner&) = delete;

  /// Sums `buffer` (f64, f32 or i32, host memory, any count) over ranks, in place; not to be
  /// touched until the request is complete. Every rank starts the same sums in the same order; the
  /// same bits on every rank and in every run. Request::test and wait @throw core::CommError naming
  /// who and what when ranks start different sums, or a rank does not come within the limit.
  /// @param residual error feedback of a narrow wire, AllReducePlan::start. Each rank rounds every
  /// element of its part of the first narrow level exactly once, on its way down or, what it holds
  /// the sum of, before it goes up; that is where the residual goes in and what was lost comes out.
  Request start(core::Tensor buffer, core::Tensor residual = {});

  /// As Communicator::start_reduce_scatter_v and start_all_gather_v, in place or not, also of i32;
  /// beyond that as start(). Of the parts of all ranks each segment takes a piece. Sums are copied
  /// into segments and out of them; copies travel in `all` itself where the parts lie in the order
  /// of Hierarchy::part_order() and in one segment. A narrow wire: `mine` is not rounded after the
  /// last sum, and where sum_signature() is not 0 its bits do not depend on the counts; what is
  /// gathered is rounded once, on its owner too.
  Request start_reduce_scatter_v(core::Tensor all, std::span<const std::int64_t> counts,
                                 core::Tensor mine);
  Request start_all_gather_v(core::Tensor mine, std::span<const std::int64_t> counts,
                             core::Tensor all);

  const Hierarchy& hierarchy() const;
  /// Payload bytes that this rank sent at a level since construction, both ways.
  std::int64_t bytes_sent(int level) const;

 private:
  struct Impl;
  class Pending;
  Request start(Collective collective, core::Tensor all, std::span<const std::int64_t> counts,
                core::Tensor mine);
  std::shared_ptr<Impl> impl_;
};

}  // namespace isaribi::comm
