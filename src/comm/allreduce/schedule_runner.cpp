// SPDX-License-Identifier: MIT
#include "comm/allreduce/schedule_runner.hpp"

#include <algorithm>
#include <cstring>
#include <deque>
#include <exception>
#include <map>
#include <string>
#include <thread>
#include <utility>

#include "comm/allreduce/announcement.hpp"
#include "comm/allreduce/memory_pool.hpp"
#include "comm/allreduce/message_exchange.hpp"
#include "comm/allreduce/message_queue.hpp"
#include "comm/allreduce/schedule.hpp"
#include "comm/allreduce/schedule_run.hpp"
#include "comm/allreduce/stage_exchanges.hpp"
#include "core/timer.hpp"

namespace isaribi::comm {
namespace {

constexpr std::size_t kKeptSchedules = 64;
/// Seconds that a rank with an error waits to learn the reason, and that one whose neighbour has
/// begun leaves to a rank that can name the one who has not.
constexpr double kGrace = 2;

/// The door of a stage. Segments enter in order, because ranks that let in different ones could
/// wait for each other.
struct Lane {
  std::int64_t next = 0;
  int inside = 0;
  std::map<std::int64_t, Run*> waiting;
};

}  // namespace

struct ScheduleRunner::Impl {
  Impl(Communicator& world, const RankOrder& order, const std::vector<HierarchyLevel>& levels,
       ScheduleOptions o)
      : comm(agreed(world.duplicate(), order, levels, o)),
        options(o),
        hierarchy(order, levels),
        scheduler(hierarchy, comm->rank()),
        queue(*comm),
        hosts(comm->all_gather_strings(comm->host())),
        lanes(static_cast<std::size_t>(2 * hierarchy.levels())),
        sent(static_cast<std::size_t>(hierarchy.levels()), 0),
        copies(*options.memory),
        exchanges(*comm, hierarchy, options, queue, [this](Run& run) { leave(run); }) {}

  std::shared_ptr<Operation> start(core::Tensor buffer, core::Tensor residual);
  std::shared_ptr<Operation> start(Collective collective, core::Tensor all, Parts parts);
  std::shared_ptr<Operation> make_operation(core::Tensor buffer) const;
  void begin(const std::shared_ptr<Operation>& operation);
  void add_run(const std::shared_ptr<Operation>& operation, std::int64_t segment, std::byte* data,
               std::shared_ptr<const Schedule> schedule);
  void announce(const std::shared_ptr<Operation>& operation);
  std::shared_ptr<const Schedule> schedule_of(std::int64_t count);
  std::shared_ptr<const Schedule> schedule_of(Collective collective,
                                              const std::vector<std::int64_t>& lengths);
  void enter(Run& run);
  void leave(Run& run);
  void open_doors();
  void progress(bool block);
  [[noreturn]] void fail(const core::CommError& error);
  void compare(const Operation& operation) const;
  void check_limit(const Operation& operation) const;
  int awaited(const Operation& operation) const;

  std::string who(int rank) const {
    return "rank " + std::to_string(rank) + " on " + hosts[static_cast<std::size_t>(rank)];
  }
  int previous() const { return (comm->rank() + comm->size() - 1) % comm->size(); }

  std::unique_ptr<Communicator> comm;
  ScheduleOptions options;
  Hierarchy hierarchy;
  Scheduler scheduler;
  MessageQueue queue;
  std::vector<std::string> hosts;
  std::map<std::int64_t, std::shared_ptr<const Schedule>> schedules;  ///< by segment length
  /// Those of one way, by the lengths of parts.
  std::map<std::pair<Collective, std::vector<std::int64_t>>, std::shared_ptr<const Schedule>>
      one_way;
  std::vector<Lane> lanes;         ///< by stage
  std::vector<std::int64_t> sent;  ///< bytes, by level
  MemoryPool copies;               ///< of segments of parts
  StageExchanges exchanges;
  std::deque<std::unique_ptr<Run>> runs;              ///< in order
  std::deque<std::shared_ptr<Operation>> operations;  ///< unfinished
  std::int64_t next_operation = 0, next_segment = 0, moves = 0;
};

std::shared_ptr<const Schedule> ScheduleRunner::Impl::schedule_of(std::int64_t count) {
  if (schedules.size() > kKeptSchedules) schedules.clear();
  std::shared_ptr<const Schedule>& known = schedules[count];
  if (!known) known = std::make_shared<const Schedule>(scheduler.schedule(count));
  return known;
}

std::shared_ptr<const Schedule> ScheduleRunner::Impl::schedule_of(
    Collective collective, const std::vector<std::int64_t>& lengths) {
  if (one_way.size() > kKeptSchedules) one_way.clear();
  std::shared_ptr<const Schedule>& known = one_way[{collective, lengths}];
  if (!known) known = std::make_shared<const Schedule>(scheduler.schedule(lengths, collective));
  return known;
}

std::shared_ptr<Operation> ScheduleRunner::Impl::make_operation(core::Tensor buffer) const {
  const core::DType type = buffer.dtype();
  const core::DType wire = options.wire && type != core::DType::i32 ? *options.wire : type;
  auto operation = std::make_shared<Operation>(std::move(buffer), wire, options.first_wire_level,
                                               comm->kernels());
  operation->mine.count = operation->buffer.count();
  operation->mine.type = static_cast<std::int64_t>(type);
  return operation;
}

std::shared_ptr<Operation> ScheduleRunner::Impl::start(core::Tensor buffer, core::Tensor residual) {
  const std::shared_ptr<Operation> operation = make_operation(buffer);
  operation->residual = std::move(residual);
  begin(operation);
  const auto width = static_cast<std::int64_t>(core::size_of(buffer.dtype()));
  const std::int64_t count = buffer.count(), largest = exchanges.largest_segment();
  const std::int64_t segments = std::max<std::int64_t>((count * width + largest - 1) / largest, 1);
  for (std::int64_t s = 0; s < segments; ++s) {
    const std::int64_t first = count / segments * s + std::min(s, count % segments);
    const std::int64_t length = count / segments + (s < count % segments ? 1 : 0);
    add_run(operation, s, static_cast<std::byte*>(buffer.raw()) + first * width,
            schedule_of(length));
    if (operation->residual.defined())
      runs.back()->residual = operation->residual.data<float>() + first;
  }
  open_doors();
  return operation;
}

std::shared_ptr<Operation> ScheduleRunner::Impl::start(Collective collective, core::Tensor all,
                                                       Parts parts) {
  const std::shared_ptr<Operation> operation = make_operation(std::move(all));
  operation->mine.collective = collective;
  operation->mine.parts = parts.hash();
  operation->parts = std::move(parts);
  begin(operation);
  for (std::int64_t s = 0; s < operation->parts->segments(); ++s) {
    add_run(operation, s, nullptr, schedule_of(collective, operation->parts->lengths(s)));
  }
  open_doors();
  return operation;
}

void ScheduleRunner::Impl::begin(const std::shared_ptr<Operation>& operation) {
  operation->mine.sequence = next_operation++;
  operation->start = core::now_seconds();
  operations.push_back(operation);
  announce(operation);
}

void ScheduleRunner::Impl::add_run(const std::shared_ptr<Operation>& operation,
                                   std::int64_t segment, std::byte* data,
                                   std::shared_ptr<const Schedule> schedule) {
  auto run = std::make_unique<Run>();
  run->operation = operation;
  run->sequence = next_segment++;
  run->segment = segment;
  run->data = data;
  run->schedule = std::move(schedule);
  ++operation->unfinished;
  lanes.front().waiting[run->sequence] = run.get();
  runs.push_back(std::move(run));
}

// Around the ring of all ranks, so that any difference has a witness.
void ScheduleRunner::Impl::announce(const std::shared_ptr<Operation>& operation) {
  const int size = comm->size();
  operation->unfinished += 2;
  queue.send(&operation->mine, sizeof(Announcement), (comm->rank() + 1) % size,
             MessageExchange::kAnnouncementTag, [operation] { --operation->unfinished; });
  queue.receive(&operation->theirs, sizeof(Announcement), previous(),
                MessageExchange::kAnnouncementTag, [this, operation] {
                  --operation->unfinished;
                  operation->heard = true;
                  compare(*operation);
                });
}

void ScheduleRunner::Impl::compare(const Operation& operation) const {
  if (operation.mine == operation.theirs) return;
  throw core::CommError(who(comm->rank()) + " begins " + to_text(operation.mine) + ", " +
                            who(previous()) + " " + to_text(operation.theirs) + ", along " +
                            hierarchy.text(),
                        "every rank must start the same sums in the same order; this is a defect "
                        "of the program, or ranks with different decks");
}

void ScheduleRunner::Impl::enter(Run& run) {
  const Stage& stage = run.stage();
  const Collective collective = run.operation->mine.collective;
  const bool turns = run.index == lanes.size() / 2;
  if (collective == Collective::reduce_scatter && run.index == 0) run.read(copies);
  if (collective == Collective::all_gather && turns) run.read(copies);
  if (turns && collective != Collective::reduce_scatter) {
    for (const auto& [begin, end] : run.schedule->held) {
      run.operation->narrow.round(run.data, begin, end, run.residual);
    }
  }
  if (collective == Collective::reduce_scatter && !stage.gather)
    run.sums().round_own(stage, run.data);
  for (const Message& m : stage.sends) {
    sent[static_cast<std::size_t>(stage.level)] += run.sums().wire_bytes(m.end - m.begin);
  }
  if (stage.rounds == 0) return leave(run);  // alone in its group, or the other way
  exchanges.of(stage.level).enter(run);
}

void ScheduleRunner::Impl::leave(Run& run) {
  --lanes[run.index].inside;
  if (++run.index < lanes.size()) {
    lanes[run.index].waiting[run.sequence] = &run;
  } else {
    if (run.operation->parts) run.write(copies);
    --run.operation->unfinished;
    run.operation.reset();
  }
}

void ScheduleRunner::Impl::open_doors() {
  for (bool moved = true; moved;) {
    moved = false;
    for (Lane& lane : lanes) {
      while (lane.inside < options.window && !lane.waiting.empty() &&
             lane.waiting.begin()->first == lane.next) {
        Run& run = *lane.waiting.begin()->second;
        lane.waiting.erase(lane.waiting.begin());
        ++lane.next;
        ++lane.inside;
        enter(run);
        moved = true;
      }
    }
  }
  while (!runs.empty() && runs.front()->operation == nullptr) runs.pop_front();
  while (!operations.empty() && operations.front()->unfinished == 0) operations.pop_front();
}

void ScheduleRunner::Impl::progress(bool block) {
  try {
    const bool busy = exchanges.busy();
    bool moved = queue.progress(block && !busy);
    moved = exchanges.progress() || moved;
    if (moved) {
      ++moves;
      open_doors();
    }
    // Without a message under way the library does not give the core to a rank that has to write.
    if (!moved && busy && queue.empty()) std::this_thread::yield();
  } catch (const core::CommError& error) {
    fail(error);
  }
}

// A truncated message is how MPI sees ranks that sum different things: the announcement, which may
// still be on its way, says it better.
void ScheduleRunner::Impl::fail(const core::CommError& error) {
  const auto silent = [&] {
    return std::any_of(operations.begin(), operations.end(),
                       [](const auto& operation) { return !operation->heard; });
  };
  for (const double start = core::now_seconds();
       silent() && core::now_seconds() - start < kGrace;) {
    try {
      queue.progress(false);
    } catch (const core::CommError&) {
      break;
    }
  }
  for (const auto& operation : operations) {
    if (operation->heard) compare(*operation);
  }
  throw error;
}

// The next rank names one that has not begun; only if all have begun, whoever waits for a message
// says whose.
void ScheduleRunner::Impl::check_limit(const Operation& operation) const {
  if (options.limit_seconds <= 0) return;
  const double limit = options.limit_seconds + (operation.heard ? kGrace : 0);
  if (core::now_seconds() - operation.start < limit) return;
  std::string why = who(previous()) + " has not begun it";
  if (operation.heard) {
    const int peer = awaited(operation);
    if (peer >= 0) {
      why = "nothing comes from " + who(peer);
    } else if (!queue.empty()) {
      why = "its messages to " + who(queue.oldest_peer()) + " do not leave";
    } else {
      why = "the MPI library does not finish its level";
    }
  }
  throw core::CommError(
      who(comm->rank()) + " waits for " + to_text(operation.mine) + " along " + hierarchy.text() +
          " for " + std::to_string(static_cast<int>(limit)) + " s; " + why,
      "look for a rank that is stopped, or takes another way through the program");
}

int ScheduleRunner::Impl::awaited(const Operation& operation) const {
  for (const auto& run : runs) {
    if (run->operation.get() != &operation || run->index >= lanes.size()) continue;
    const auto first = std::find(run->arrived.begin(), run->arrived.end(), false);
    if (first == run->arrived.end()) continue;
    return run->slots[static_cast<std::size_t>(first - run->arrived.begin())].message->peer;
  }
  return -1;
}

class ScheduleRunner::Pending final : public Request::Pending {
 public:
  Pending(std::shared_ptr<Impl> impl, std::shared_ptr<Operation> operation)
      : impl_(std::move(impl)), operation_(std::move(operation)) {}
  bool test() override {
    const auto alone = impl_->comm->sole_caller();
    if (operation_->unfinished == 0) return true;
    impl_->progress(false);
    impl_->check_limit(*operation_);
    return operation_->unfinished == 0;
  }
  void wait() override {
    const auto alone = impl_->comm->sole_caller();
    const bool block = impl_->options.limit_seconds <= 0;
    while (operation_->unfinished > 0) {
      impl_->progress(block);
      impl_->check_limit(*operation_);
    }
  }
  std::int64_t moves() const override { return impl_->moves; }

 private:
  std::shared_ptr<Impl> impl_;
  std::shared_ptr<Operation> operation_;
};

ScheduleRunner::ScheduleRunner(Communicator& comm, const RankOrder& order,
                               const std::vector<HierarchyLevel>& levels, ScheduleOptions options)
    : impl_(std::make_shared<Impl>(comm, order, levels, options)) {}

// Messages of sums that nobody waits for any more may still arrive: their memory stays.
ScheduleRunner::~ScheduleRunner() {
  if (!impl_->queue.empty()) new std::shared_ptr<Impl>(impl_);
}

Request ScheduleRunner::start(core::Tensor buffer, core::Tensor residual) {
  if (buffer.device().kind != core::Device::Kind::host) {
    throw core::InternalError("sum of device memory: copy it to the host first");
  }
  if (impl_->comm->size() == 1) return {};
  const auto alone = impl_->comm->sole_caller();
  return Request(
      std::make_unique<Pending>(impl_, impl_->start(std::move(buffer), std::move(residual))));
}

Request ScheduleRunner::start(Collective collective, core::Tensor all,
                              std::span<const std::int64_t> counts, core::Tensor mine) {
  check_parts(name_of(collective), *impl_->comm, all, counts, mine);
  if (impl_->comm->size() == 1) {
    const core::Tensor &from = collective == Collective::all_gather ? mine : all,
                       &to = collective == Collective::all_gather ? all : mine;
    if (to.bytes() > 0) std::memmove(to.raw(), from.raw(), to.bytes());
    return {};
  }
  const auto alone = impl_->comm->sole_caller();
  std::vector<int> order;
  for (const int p : impl_->hierarchy.part_order()) order.push_back(impl_->hierarchy.rank_at(p));
  Parts parts(all, counts, std::move(mine), std::move(order), impl_->comm->rank(),
              impl_->exchanges.largest_segment());
  return Request(
      std::make_unique<Pending>(impl_, impl_->start(collective, std::move(all), std::move(parts))));
}

Request ScheduleRunner::start_reduce_scatter_v(core::Tensor all,
                                               std::span<const std::int64_t> counts,
                                               core::Tensor mine) {
  return start(Collective::reduce_scatter, std::move(all), counts, std::move(mine));
}

Request ScheduleRunner::start_all_gather_v(core::Tensor mine, std::span<const std::int64_t> counts,
                                           core::Tensor all) {
  return start(Collective::all_gather, std::move(all), counts, std::move(mine));
}

const Hierarchy& ScheduleRunner::hierarchy() const {
  return impl_->hierarchy;
}

std::int64_t ScheduleRunner::bytes_sent(int level) const {
  return impl_->sent[static_cast<std::size_t>(level)];
}

}  // namespace isaribi::comm
