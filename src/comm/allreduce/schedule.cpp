// SPDX-License-Identifier: MIT
#include "comm/allreduce/schedule.hpp"

#include <algorithm>
#include <tuple>

namespace isaribi::comm {
namespace {

/// Position of who holds element x.
int holder(const std::vector<Share>& shares, std::int64_t x) {
  const auto after = std::upper_bound(shares.begin(), shares.end(), x,
                                      [](std::int64_t e, const Share& s) { return e < s.begin; });
  return std::prev(after)->position;
}

int modulo(int x, int k) {
  return (x % k + k) % k;
}

/// Joining neighbours comes out the same on both sides of a pair. All but a ring sum whole messages
/// of all members, which must stay alike.
void sort_and_join(std::vector<Message>& messages, Exchange exchange) {
  std::sort(messages.begin(), messages.end(), [](const Message& a, const Message& b) {
    return std::tie(a.round, a.peer, a.begin) < std::tie(b.round, b.peer, b.begin);
  });
  if (exchange != Exchange::ring) return;
  std::vector<Message> joined;
  for (const Message& m : messages) {
    if (!joined.empty()) {
      Message& last = joined.back();
      if (last.round == m.round && last.peer == m.peer && last.end == m.begin) {
        last.end = m.end;
        continue;
      }
    }
    joined.push_back(m);
  }
  messages = std::move(joined);
}

}  // namespace

Scheduler::Scheduler(const Hierarchy& hierarchy, int rank)
    : hierarchy_(hierarchy), rank_(rank), position_(hierarchy.position_of(rank)) {}

std::vector<Share> Scheduler::shares(int l, int group, std::int64_t count) const {
  if (l < 0) return {{0, group, 0}};
  const std::vector<int>& members = hierarchy_.groups(l)[static_cast<std::size_t>(group)].members;
  std::vector<std::vector<Share>> held;
  std::vector<std::int64_t> cuts{count};
  for (const int m : members) {
    held.push_back(shares(l - 1, m, count));
    for (const Share& s : held.back()) cuts.push_back(s.begin);
  }
  std::sort(cuts.begin(), cuts.end());
  cuts.erase(std::unique(cuts.begin(), cuts.end()), cuts.end());

  const auto k = static_cast<std::int64_t>(members.size());
  std::vector<Share> all;
  for (std::size_t c = 0; c + 1 < cuts.size(); ++c) {
    const std::int64_t begin = cuts[c], length = cuts[c + 1] - begin;
    for (std::int64_t d = 0; d < k; ++d) {
      if (length * (d + 1) / k == length * d / k) continue;
      all.push_back({begin + length * d / k, holder(held[static_cast<std::size_t>(d)], begin),
                     static_cast<int>(d)});
    }
  }
  if (all.empty()) all.push_back({0, held.front().front().position, 0});  // an empty buffer
  return all;
}

void Scheduler::add_stages(int l, std::int64_t count, Stage& down, Stage& up) const {
  const int group = hierarchy_.group_of(l, position_);
  const std::vector<int>& members = hierarchy_.groups(l)[static_cast<std::size_t>(group)].members;
  const int k = static_cast<int>(members.size());
  const int mine = l == 0 ? position_ : hierarchy_.group_of(l - 1, position_);
  const int me =
      static_cast<int>(std::find(members.begin(), members.end(), mine) - members.begin());
  down = {l, false, hierarchy_.level(l).exchange, k, me, 0, {}, {}};
  up = down;
  up.gather = true;
  if (k == 1) return;

  std::vector<std::vector<Share>> held;
  for (const int m : members) held.push_back(shares(l - 1, m, count));
  const std::vector<Share> result = shares(l, group, count);
  const bool ring = down.exchange == Exchange::ring;
  down.rounds = up.rounds = ring ? k - 1 : 1;

  for (std::size_t i = 0; i < result.size(); ++i) {
    const std::int64_t begin = result[i].begin;
    const std::int64_t end = i + 1 < result.size() ? result[i + 1].begin : count;
    if (begin == end || holder(held[static_cast<std::size_t>(me)], begin) != position_) continue;
    const auto message = [&](int round, int member) {
      const int peer = holder(held[static_cast<std::size_t>(member)], begin);
      return Message{round, begin, end, member, hierarchy_.rank_at(peer)};
    };
    const int d = result[i].member;  // ends up with these elements
    if (ring) {
      // Chunk d travels the ring and ends at d, then once more round from d.
      const int next = modulo(me + 1, k), previous = modulo(me - 1, k);
      if (d != me) {
        down.sends.push_back(message(modulo(me - 1 - d, k), next));
        up.receives.push_back(message(modulo(me - 1 - d, k), previous));
      }
      if (d != previous) down.receives.push_back(message(modulo(me - 2 - d, k), previous));
      if (d != next) up.sends.push_back(message(modulo(me - d, k), next));
    } else {
      for (int m = 0; m < k; ++m) {
        if (m == me) continue;
        if (d == me) {
          down.receives.push_back(message(0, m));
          up.sends.push_back(message(0, m));
        } else if (d == m) {
          down.sends.push_back(message(0, m));
          up.receives.push_back(message(0, m));
        }
      }
    }
  }
  for (std::vector<Message>* list : {&down.sends, &down.receives, &up.sends, &up.receives}) {
    sort_and_join(*list, down.exchange);
  }
}

Schedule Scheduler::schedule(std::int64_t count) const {
  const int levels = hierarchy_.levels();
  Schedule schedule;
  schedule.stages.resize(static_cast<std::size_t>(2 * levels));
  for (int l = 0; l < levels; ++l) {
    add_stages(l, count, schedule.stages[static_cast<std::size_t>(l)],
               schedule.stages[static_cast<std::size_t>(2 * levels - 1 - l)]);
  }
  const std::vector<Share> result = shares(levels - 1, 0, count);
  for (std::size_t i = 0; i < result.size(); ++i) {
    const std::int64_t end = i + 1 < result.size() ? result[i + 1].begin : count;
    if (result[i].position == position_ && result[i].begin < end) {
      schedule.held.emplace_back(result[i].begin, end);
    }
  }
  return schedule;
}

}  // namespace isaribi::comm
