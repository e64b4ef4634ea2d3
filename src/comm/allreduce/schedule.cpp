// SPDX-License-Identifier: MIT
#include "comm/allreduce/schedule.hpp"

#include <algorithm>
#include <tuple>

namespace isaribi::comm {
namespace {

/// Who holds element x.
const Share& share_at(const std::vector<Share>& shares, std::int64_t x) {
  const auto after = std::upper_bound(shares.begin(), shares.end(), x,
                                      [](std::int64_t e, const Share& s) { return e < s.begin; });
  return *std::prev(after);
}

int holder(const std::vector<Share>& shares, std::int64_t x) {
  return share_at(shares, x).position;
}

/// Elements that lie alike for all members of a group.
struct Piece {
  std::int64_t begin = 0, end = 0;
  int member = 0;            ///< who ends up with them
  std::vector<int> holders;  ///< positions, by member
};

/// Where any of the lists changes, and where the buffer ends.
std::vector<std::int64_t> refine(const std::vector<const std::vector<Share>*>& lists,
                                 std::int64_t count) {
  std::vector<std::int64_t> cuts{count};
  for (const std::vector<Share>* list : lists) {
    for (const Share& s : *list) cuts.push_back(s.begin);
  }
  std::sort(cuts.begin(), cuts.end());
  cuts.erase(std::unique(cuts.begin(), cuts.end()), cuts.end());
  return cuts;
}

/// @param held by member, before a stage; @param result after it
std::vector<Piece> pieces_of(const std::vector<std::vector<Share>>& held,
                             const std::vector<Share>& result, std::int64_t count) {
  std::vector<const std::vector<Share>*> lists{&result};
  for (const std::vector<Share>& list : held) lists.push_back(&list);
  const std::vector<std::int64_t> cuts = refine(lists, count);
  std::vector<Piece> pieces;
  for (std::size_t c = 0; c + 1 < cuts.size(); ++c) {
    Piece piece{cuts[c], cuts[c + 1], share_at(result, cuts[c]).member, {}};
    for (const std::vector<Share>& list : held) piece.holders.push_back(holder(list, piece.begin));
    Piece* last = pieces.empty() ? nullptr : &pieces.back();
    if (last != nullptr && last->member == piece.member && last->holders == piece.holders) {
      last->end = piece.end;
    } else {
      pieces.push_back(std::move(piece));
    }
  }
  return pieces;
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

std::string_view name_of(Collective collective) {
  constexpr std::string_view kNames[] = {"all_reduce", "reduce_scatter", "all_gather"};
  return kNames[static_cast<std::size_t>(collective)];
}

Buffer::Buffer(const std::vector<int>& order, const std::vector<std::int64_t>& lengths) {
  for (std::size_t i = 0; i < order.size(); ++i) {
    if (lengths[i] > 0) parts.push_back({count, order[i], 0});
    count += lengths[i];
  }
}

Scheduler::Scheduler(const Hierarchy& hierarchy, int rank)
    : hierarchy_(hierarchy),
      rank_(rank),
      position_(hierarchy.position_of(rank)),
      order_(hierarchy.part_order()) {}

std::vector<Share> Scheduler::shares(int l, int group, const Buffer& buffer) const {
  if (l < 0) return {{0, group, 0}};
  const std::vector<int>& members = hierarchy_.groups(l)[static_cast<std::size_t>(group)].members;
  std::vector<std::vector<Share>> held;
  for (const int m : members) held.push_back(shares(l - 1, m, buffer));
  std::vector<const std::vector<Share>*> lists{&buffer.parts};
  for (const std::vector<Share>& list : held) lists.push_back(&list);
  const std::vector<std::int64_t> cuts = refine(lists, buffer.count);

  const auto k = static_cast<std::int64_t>(members.size());
  std::vector<Share> all;
  for (std::size_t c = 0; c + 1 < cuts.size(); ++c) {
    const std::int64_t begin = cuts[c], length = cuts[c + 1] - begin;
    Hierarchy::Place owner;  // of one: the piece is cut evenly
    if (!buffer.parts.empty()) {
      owner = hierarchy_.place_of(l, share_at(buffer.parts, begin).position);
    }
    // The owner's group and this one are cut into their members from 0 to 1, and the piece reaches
    // over the owner's.
    const auto cut = [&](std::int64_t d) {
      return std::clamp<std::int64_t>(length * (d * owner.members - owner.index * k) / k, 0,
                                      length);
    };
    for (std::int64_t d = 0; d < k; ++d) {
      if (cut(d) == cut(d + 1)) continue;
      const Share share{begin + cut(d), holder(held[static_cast<std::size_t>(d)], begin),
                        static_cast<int>(d)};
      const bool joins = !all.empty() && all.back().position == share.position &&
                         all.back().member == share.member;
      if (!joins) all.push_back(share);
    }
  }
  if (all.empty()) all.push_back({0, held.front().front().position, 0});  // an empty buffer
  return all;
}

void Scheduler::add_stages(int l, const Buffer& buffer, Stage& down, Stage& up) const {
  const int group = hierarchy_.group_of(l, position_);
  const std::vector<int>& members = hierarchy_.groups(l)[static_cast<std::size_t>(group)].members;
  const int k = static_cast<int>(members.size()), me = hierarchy_.place_of(l, position_).index;
  down = {l, false, hierarchy_.level(l).exchange, k, me, 0, {}, {}};
  up = down;
  up.gather = true;
  if (k == 1) return;

  std::vector<std::vector<Share>> held;
  for (const int m : members) held.push_back(shares(l - 1, m, buffer));
  const bool ring = down.exchange == Exchange::ring;
  down.rounds = up.rounds = ring ? k - 1 : 1;

  for (const Piece& piece : pieces_of(held, shares(l, group, buffer), buffer.count)) {
    if (piece.holders[static_cast<std::size_t>(me)] != position_) continue;
    const auto message = [&](int round, int member) {
      const int peer = piece.holders[static_cast<std::size_t>(member)];
      return Message{round, piece.begin, piece.end, member, hierarchy_.rank_at(peer)};
    };
    const int d = piece.member;  // ends up with these elements
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

Schedule Scheduler::schedule(const Buffer& buffer) const {
  const int levels = hierarchy_.levels();
  Schedule schedule;
  schedule.stages.resize(static_cast<std::size_t>(2 * levels));
  for (int l = 0; l < levels; ++l) {
    add_stages(l, buffer, schedule.stages[static_cast<std::size_t>(l)],
               schedule.stages[static_cast<std::size_t>(2 * levels - 1 - l)]);
  }
  const std::vector<Share> result = shares(levels - 1, 0, buffer);
  for (std::size_t i = 0; i < result.size(); ++i) {
    const std::int64_t end = i + 1 < result.size() ? result[i + 1].begin : buffer.count;
    if (result[i].position == position_ && result[i].begin < end) {
      schedule.held.emplace_back(result[i].begin, end);
    }
  }
  return schedule;
}

Schedule Scheduler::schedule(std::int64_t count) const {
  return schedule(Buffer(count));
}

Schedule Scheduler::schedule(const std::vector<std::int64_t>& lengths,
                             Collective collective) const {
  Schedule both = schedule(Buffer(order_, lengths));
  for (Stage& stage : both.stages) {
    const Collective other = stage.gather ? Collective::reduce_scatter : Collective::all_gather;
    if (collective != other) continue;
    stage.rounds = 0;
    stage.sends.clear();
    stage.receives.clear();
  }
  return both;
}

}  // namespace isaribi::comm
