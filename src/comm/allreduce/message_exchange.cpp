// SPDX-License-Identifier: MIT
#include "comm/allreduce/message_exchange.hpp"

#include <algorithm>

namespace isaribi::comm {

int MessageExchange::tag_of(const Run& run) const {
  const std::int64_t cycle = (queue_.largest_tag() - 1 - kAnnouncementTag) / stages_;
  return static_cast<int>(kAnnouncementTag + 1 + run.sequence % cycle * stages_ +
                          static_cast<std::int64_t>(run.index));
}

void MessageExchange::enter(Run& run) {
  const Stage& stage = run.stage();
  run.round = 0;
  run.missing.assign(static_cast<std::size_t>(stage.rounds), 0);
  run.sends_left = static_cast<int>(stage.sends.size());
  post_receives(run);
  if (stage.rounds > 0) post_sends(run);
  advance(run);
}

// All rounds at once: a message that finds its receive posted needs no copy in between.
void MessageExchange::post_receives(Run& run) {
  const Stage& stage = run.stage();
  const StageSums& sums = run.sums();
  const bool in_place = stage.gather && !sums.narrow();
  std::int64_t bytes = 0;
  for (const Message& m : stage.receives) bytes += sums.wire_bytes(m.end - m.begin);
  if (!in_place) run.incoming = memory_.take(bytes);
  if (sums.narrow()) {
    bytes = 0;
    for (const Message& m : stage.sends) bytes += sums.wire_bytes(m.end - m.begin);
    run.outgoing = memory_.take(bytes);
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
    queue_.receive(run.slots.back().data, length, m.peer, tag_of(run),
                   [this, &run, &m, at = run.slots.size() - 1] {
                     run.arrived[at] = true;
                     --run.missing[static_cast<std::size_t>(m.round)];
                     advance(run);
                   });
  }
}

void MessageExchange::post_sends(Run& run) {
  const Stage& stage = run.stage();
  const StageSums& sums = run.sums();
  const auto first = std::partition_point(stage.sends.begin(), stage.sends.end(),
                                          [&](const Message& m) { return m.round < run.round; });
  for (auto m = first; m != stage.sends.end() && m->round == run.round; ++m) {
    const std::int64_t length = sums.wire_bytes(m->end - m->begin);
    const std::byte* from = sums.at(run.data, m->begin);
    if (sums.narrow()) {
      std::byte* to = static_cast<std::byte*>(run.outgoing.raw()) + run.outgoing_used;
      run.outgoing_used += static_cast<std::size_t>(length);
      sums.put_out({&*m, to}, run.data, run.residual_to_round());
      from = to;
    }
    queue_.send(from, length, m->peer, tag_of(run), [this, &run] {
      --run.sends_left;
      advance(run);
    });
  }
}

void MessageExchange::advance(Run& run) {
  const Stage& stage = run.stage();
  while (run.round < stage.rounds && run.missing[static_cast<std::size_t>(run.round)] == 0) {
    std::vector<Slot> arrived;
    for (const Slot& s : run.slots) {
      if (s.message->round == run.round) arrived.push_back(s);
    }
    run.sums().take_in(stage, std::move(arrived), run.data);
    if (++run.round < stage.rounds) post_sends(run);
  }
  if (run.round < stage.rounds || run.sends_left > 0) return;
  memory_.give_back(run.incoming);
  memory_.give_back(run.outgoing);
  leave(run);
}

}  // namespace isaribi::comm
