// SPDX-License-Identifier: MIT
#include "comm/allreduce/schedule_runner.hpp"

#include <algorithm>
#include <deque>
#include <exception>
#include <map>
#include <string>
#include <utility>

#include "comm/agreement.hpp"
#include "comm/allreduce/memory_pool.hpp"
#include "comm/allreduce/message_queue.hpp"
#include "comm/allreduce/schedule.hpp"
#include "comm/allreduce/stage_sums.hpp"
#include "core/timer.hpp"

namespace isaribi::comm {
namespace {

constexpr std::int64_t kLargestSegment = std::int64_t{1} << 29;  // bytes: MPI counts are int
constexpr std::size_t kKeptSchedules = 64;
constexpr int kAnnouncementTag = 0;
/// Seconds that a rank with an error waits to learn the reason, and that one whose neighbour has
/// begun leaves to a rank that can name the one who has not.
constexpr double kGrace = 2;

/// What a rank says about a sum when it starts it; compared by the next rank.
struct Announcement {
  std::int64_t sequence = 0, count = 0, type = 0;
  bool operator==(const Announcement&) const = default;
};

std::string to_text(const Announcement& a) {
  return "sum " + std::to_string(a.sequence) + " of " + std::to_string(a.count) + " " +
         std::string(core::name_of(static_cast<core::DType>(a.type)));
}

/// Collective, before anything that depends on the plan. @throws CollectiveError
std::unique_ptr<Communicator> agreed(std::unique_ptr<Communicator> comm, const RankOrder& order,
                                     const std::vector<HierarchyLevel>& levels,
                                     const ScheduleOptions& options) {
  std::string plan = to_text(levels) + " in segments of " + std::to_string(options.segment_bytes) +
                     " bytes, window " + std::to_string(options.window);
  if (options.wire) {
    plan += ", " + std::string(core::name_of(*options.wire)) + " from level " +
            std::to_string(options.first_wire_level);
  }
  std::uint64_t places = 0xcbf29ce484222325U;  // FNV-1a
  const auto add = [&](const std::vector<int>& numbers) {
    for (const int n : numbers) {
      places = (places ^ static_cast<std::uint64_t>(n)) * 0x100000001b3U;
    }
  };
  add(order.ranks);
  for (const std::vector<int>& domain : order.domains) add(domain);
  check_agreement(*comm, {{"plan of the sums", plan}, {"order of ranks", std::to_string(places)}});
  return comm;
}

/// A buffer on its way.
struct Operation {
  Operation(core::Tensor b, core::DType wire)
      : buffer(std::move(b)), wide(buffer.dtype(), buffer.dtype()), narrow(buffer.dtype(), wire) {}
  core::Tensor buffer;
  StageSums wide, narrow;  ///< for levels below the first narrow one, and from there on
  Announcement mine, theirs;
  bool heard = false;          ///< theirs has come
  std::size_t unfinished = 0;  ///< segments and announcements
  double start = 0;
};

/// A segment on its way.
struct Run {
  std::shared_ptr<Operation> operation;
  std::int64_t sequence = 0;
  std::byte* data = nullptr;
  std::shared_ptr<const Schedule> schedule;
  std::size_t stage = 0;
  int round = 0;             ///< the first that is not received
  std::vector<int> missing;  ///< receives, by round
  int sends_left = 0;
  std::vector<Slot> slots;          ///< of the receives
  std::vector<bool> arrived;        ///< beside slots
  core::Tensor incoming, outgoing;  ///< u8: what slots and narrow sends point into
  std::size_t outgoing_used = 0;
};

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
        memory(*options.memory),
        hosts(comm->all_gather_strings(comm->host())),
        lanes(static_cast<std::size_t>(2 * hierarchy.levels())),
        sent(static_cast<std::size_t>(hierarchy.levels()), 0) {}

  std::shared_ptr<Operation> start(core::Tensor buffer);
  void announce(const std::shared_ptr<Operation>& operation);
  std::shared_ptr<const Schedule> schedule_of(std::int64_t count);
  void enter(Run& run);
  void post_receives(Run& run);
  void post_sends(Run& run);
  void advance(Run& run);
  void open_doors();
  void progress(bool block);
  [[noreturn]] void fail(const core::CommError& error);
  void compare(const Operation& operation) const;
  void check_limit(const Operation& operation) const;
  int awaited(const Operation& operation) const;

  const StageSums& sums_of(const Run& run) const {
    const Stage& stage = run.schedule->stages[run.stage];
    return stage.level < options.first_wire_level ? run.operation->wide : run.operation->narrow;
  }
  int tag_of(const Run& run) const {
    const auto stages = static_cast<std::int64_t>(lanes.size());
    const std::int64_t cycle = (queue.largest_tag() - 1) / stages;
    return static_cast<int>(1 + run.sequence % cycle * stages +
                            static_cast<std::int64_t>(run.stage));
  }
  std::string who(int rank) const {
    return "rank " + std::to_string(rank) + " on " + hosts[static_cast<std::size_t>(rank)];
  }
  int previous() const { return (comm->rank() + comm->size() - 1) % comm->size(); }

  std::unique_ptr<Communicator> comm;
  ScheduleOptions options;
  Hierarchy hierarchy;
  Scheduler scheduler;
  MessageQueue queue;
  MemoryPool memory;
  std::vector<std::string> hosts;
  std::map<std::int64_t, std::shared_ptr<const Schedule>> schedules;  ///< by segment length
  std::vector<Lane> lanes;                                            ///< by stage
  std::vector<std::int64_t> sent;                                     ///< bytes, by level
  std::deque<std::unique_ptr<Run>> runs;                              ///< in order
  std::deque<std::shared_ptr<Operation>> operations;                  ///< unfinished
  std::int64_t next_operation = 0, next_segment = 0;
};

std::shared_ptr<const Schedule> ScheduleRunner::Impl::schedule_of(std::int64_t count) {
  if (schedules.size() > kKeptSchedules) schedules.clear();
  std::shared_ptr<const Schedule>& known = schedules[count];
  if (!known) known = std::make_shared<const Schedule>(scheduler.schedule(count));
  return known;
}

std::shared_ptr<Operation> ScheduleRunner::Impl::start(core::Tensor buffer) {
  const auto width = static_cast<std::int64_t>(core::size_of(buffer.dtype()));
  const std::int64_t count = buffer.count();
  const core::DType wire =
      options.wire && buffer.dtype() != core::DType::i32 ? *options.wire : buffer.dtype();
  auto operation = std::make_shared<Operation>(buffer, wire);
  const std::int64_t limit = options.segment_bytes > 0
                                 ? std::min(options.segment_bytes, kLargestSegment)
                                 : kLargestSegment;
  const std::int64_t segments = std::max<std::int64_t>((count * width + limit - 1) / limit, 1);
  operation->mine = {next_operation++, count, static_cast<std::int64_t>(buffer.dtype())};
  operation->start = core::now_seconds();
  announce(operation);
  for (std::int64_t s = 0; s < segments; ++s) {
    const std::int64_t begin = count / segments * s + std::min(s, count % segments);
    const std::int64_t length = count / segments + (s < count % segments ? 1 : 0);
    auto run = std::make_unique<Run>();
    run->operation = operation;
    run->sequence = next_segment++;
    run->data = static_cast<std::byte*>(buffer.raw()) + begin * width;
    run->schedule = schedule_of(length);
    ++operation->unfinished;
    lanes.front().waiting[run->sequence] = run.get();
    runs.push_back(std::move(run));
  }
  operations.push_back(operation);
  open_doors();
  return operation;
}

// Around the ring of all ranks, so that any difference has a witness.
void ScheduleRunner::Impl::announce(const std::shared_ptr<Operation>& operation) {
  const int size = comm->size();
  operation->unfinished += 2;
  queue.send(&operation->mine, sizeof(Announcement), (comm->rank() + 1) % size, kAnnouncementTag,
             [operation] { --operation->unfinished; });
  queue.receive(&operation->theirs, sizeof(Announcement), previous(), kAnnouncementTag,
                [this, operation] {
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
  const Stage& stage = run.schedule->stages[run.stage];
  if (stage.gather && run.stage == lanes.size() / 2) {
    for (const auto& [begin, end] : run.schedule->held) {
      run.operation->narrow.round(run.data, begin, end);
    }
  }
  run.round = 0;
  run.missing.assign(static_cast<std::size_t>(stage.rounds), 0);
  run.sends_left = static_cast<int>(stage.sends.size());
  post_receives(run);
  if (stage.rounds > 0) post_sends(run);
  advance(run);
}

// All rounds at once: a message that finds its receive posted needs no copy in between.
void ScheduleRunner::Impl::post_receives(Run& run) {
  const Stage& stage = run.schedule->stages[run.stage];
  const StageSums& sums = sums_of(run);
  const bool in_place = stage.gather && !sums.narrow();
  std::int64_t bytes = 0;
  for (const Message& m : stage.receives) bytes += sums.wire_bytes(m.end - m.begin);
  if (!in_place) run.incoming = memory.take(bytes);
  if (sums.narrow()) {
    bytes = 0;
    for (const Message& m : stage.sends) bytes += sums.wire_bytes(m.end - m.begin);
    run.outgoing = memory.take(bytes);
    run.outgoing_used = 0;
  }
  run.slots.clear();
  run.arrived.assign(stage.receives.size(), false);
  auto* slot = in_place ? nullptr : static_cast<std::byte*>(run.incoming.raw());
  for (const Message& m : stage.receives) {
    const std::int64_t length = sums.wire_bytes(m.end - m.begin);
    run.slots.push_back({&m, in_place ? sums.at(run.data, m.begin) : slot});
    if (!in_place) slot += length;
    ++run.missing[static_cast<std::size_t>(m.round)];
    queue.receive(run.slots.back().data, length, m.peer, tag_of(run),
                  [this, &run, &m, at = run.slots.size() - 1] {
                    run.arrived[at] = true;
                    --run.missing[static_cast<std::size_t>(m.round)];
                    advance(run);
                  });
  }
}

void ScheduleRunner::Impl::post_sends(Run& run) {
  const Stage& stage = run.schedule->stages[run.stage];
  const StageSums& sums = sums_of(run);
  const auto first = std::partition_point(stage.sends.begin(), stage.sends.end(),
                                          [&](const Message& m) { return m.round < run.round; });
  for (auto m = first; m != stage.sends.end() && m->round == run.round; ++m) {
    const std::int64_t length = sums.wire_bytes(m->end - m->begin);
    const std::byte* from = sums.at(run.data, m->begin);
    if (sums.narrow()) {
      std::byte* to = static_cast<std::byte*>(run.outgoing.raw()) + run.outgoing_used;
      run.outgoing_used += static_cast<std::size_t>(length);
      sums.put_out({&*m, to}, run.data);
      from = to;
    }
    sent[static_cast<std::size_t>(stage.level)] += length;
    queue.send(from, length, m->peer, tag_of(run), [this, &run] {
      --run.sends_left;
      advance(run);
    });
  }
}

void ScheduleRunner::Impl::advance(Run& run) {
  const Stage& stage = run.schedule->stages[run.stage];
  while (run.round < stage.rounds && run.missing[static_cast<std::size_t>(run.round)] == 0) {
    std::vector<Slot> arrived;
    for (const Slot& s : run.slots) {
      if (s.message->round == run.round) arrived.push_back(s);
    }
    sums_of(run).take_in(stage, std::move(arrived), run.data);
    if (++run.round < stage.rounds) post_sends(run);
  }
  if (run.round < stage.rounds || run.sends_left > 0) return;
  --lanes[run.stage].inside;
  memory.give_back(run.incoming);
  memory.give_back(run.outgoing);
  if (++run.stage < lanes.size()) {
    lanes[run.stage].waiting[run.sequence] = &run;
  } else {
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
    if (queue.progress(block)) open_doors();
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
    }
  }
  throw core::CommError(
      who(comm->rank()) + " waits for " + to_text(operation.mine) + " along " + hierarchy.text() +
          " for " + std::to_string(static_cast<int>(limit)) + " s; " + why,
      "look for a rank that is stopped, or takes another way through the program");
}

int ScheduleRunner::Impl::awaited(const Operation& operation) const {
  for (const auto& run : runs) {
    if (run->operation.get() != &operation || run->stage >= lanes.size()) continue;
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
    if (operation_->unfinished == 0) return true;
    impl_->progress(false);
    impl_->check_limit(*operation_);
    return operation_->unfinished == 0;
  }
  void wait() override {
    const bool block = impl_->options.limit_seconds <= 0;
    while (operation_->unfinished > 0) {
      impl_->progress(block);
      impl_->check_limit(*operation_);
    }
  }

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

Request ScheduleRunner::start(core::Tensor buffer) {
  if (buffer.device().kind != core::Device::Kind::host) {
    throw core::InternalError("sum of device memory: copy it to the host first");
  }
  if (impl_->comm->size() == 1) return {};
  return Request(std::make_unique<Pending>(impl_, impl_->start(std::move(buffer))));
}

const Hierarchy& ScheduleRunner::hierarchy() const {
  return impl_->hierarchy;
}

std::int64_t ScheduleRunner::bytes_sent(int level) const {
  return impl_->sent[static_cast<std::size_t>(level)];
}

}  // namespace isaribi::comm
