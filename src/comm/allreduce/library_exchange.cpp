// SPDX-License-Identifier: MIT
#include "comm/allreduce/library_exchange.hpp"

#include <algorithm>
#include <utility>

#include "comm/allreduce/schedule.hpp"

namespace isaribi::comm {

namespace {

class MpiCollectives final : public Collectives {
 public:
  explicit MpiCollectives(std::unique_ptr<Communicator> group) : group_(std::move(group)) {}
  Request start_all_reduce(core::Tensor in_place) override {
    return group_->start_all_reduce(std::move(in_place), ReduceOp::sum);
  }
  Request start_reduce_scatter_v(core::Tensor all, std::span<const std::int64_t> counts,
                                 core::Tensor mine) override {
    return group_->start_reduce_scatter_v(std::move(all), counts, std::move(mine));
  }
  Request start_all_gather_v(core::Tensor mine, std::span<const std::int64_t> counts,
                             core::Tensor all) override {
    return group_->start_all_gather_v(std::move(mine), counts, std::move(all));
  }

 private:
  std::unique_ptr<Communicator> group_;
};

}  // namespace

LibraryExchange::LibraryExchange(Communicator& comm, const Hierarchy& hierarchy, Exchange exchange,
                                 const GroupRoom& room, Leave leave)
    : StageExchange(std::move(leave)),
      levels_(hierarchy.levels()),
      lanes_(static_cast<std::size_t>(2 * hierarchy.levels())) {
  // Groups are even up to such a level (Hierarchy), so that with one element for every rank each
  // rank meets all those that it ever meets.
  const Schedule schedule =
      Scheduler(hierarchy, comm.rank()).schedule(std::int64_t{hierarchy.ranks()});
  const int on_node = exchange == Exchange::nccl ? comm.split_node()->rank() : 0;
  for (const Stage& stage : schedule.stages) {
    members_.emplace_back();
    if (stage.exchange != exchange) continue;
    int first = comm.rank();
    for (const Message& m : stage.sends) first = std::min(first, m.peer);
    std::unique_ptr<Communicator> group = comm.split(first, stage.me);
    if (group->size() == 1) continue;  // which never enters
    if (exchange == Exchange::nccl) {
      members_.back() = gpu_collectives(*group, on_node, room);
    } else {
      members_.back() = std::make_unique<MpiCollectives>(std::move(group));
    }
  }
}

void LibraryExchange::enter(Run& run) {
  lanes_[run.index].push_back({&run, start(run)});
}

Request LibraryExchange::start(Run& run) {
  const Stage& stage = run.stage();
  const bool both = run.operation->mine.collective == Collective::all_reduce;
  if (both && is_outermost(stage) && stage.gather) return {};
  std::vector<std::int64_t> counts(static_cast<std::size_t>(stage.members), 0);
  std::int64_t begin = -1, mine = 0;
  const auto note = [&](const Message& m, int owner) {
    counts[static_cast<std::size_t>(owner)] = m.end - m.begin;
    begin = begin < 0 ? m.begin : std::min(begin, m.begin);
  };
  for (const Message& m : stage.sends) note(m, stage.gather ? stage.me : m.member);
  for (const Message& m : stage.receives) note(m, stage.gather ? m.member : stage.me);
  std::int64_t count = 0;
  for (std::size_t m = 0; m < counts.size(); ++m) {
    if (m == static_cast<std::size_t>(stage.me)) mine = count;
    count += counts[m];
  }
  if (count == 0) return {};
  const core::DType type = run.operation->buffer.dtype();
  std::byte* data = run.sums().at(run.data, begin);
  const core::Tensor all = core::Tensor::borrow(data, {count}, type);
  Collectives& members = *members_[run.index];
  if (both && is_outermost(stage)) return members.start_all_reduce(all);
  const core::Tensor part = all.slice(mine, {counts[static_cast<std::size_t>(stage.me)]});
  return stage.gather ? members.start_all_gather_v(part, counts, all)
                      : members.start_reduce_scatter_v(all, counts, part);
}

bool LibraryExchange::busy() const {
  return std::any_of(lanes_.begin(), lanes_.end(), [](const auto& lane) { return !lane.empty(); });
}

bool LibraryExchange::progress() {
  std::vector<Run*> done;
  for (std::deque<UnderWay>& lane : lanes_) {
    for (; !lane.empty() && lane.front().request.test(); lane.pop_front()) {
      done.push_back(lane.front().run);
    }
  }
  for (Run* run : done) leave(*run);
  return !done.empty();
}

}  // namespace isaribi::comm
