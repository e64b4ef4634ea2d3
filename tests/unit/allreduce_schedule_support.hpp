// SPDX-License-Identifier: MIT
// Schedules of all ranks, run in memory, and machines and hierarchies to try them on.
#pragma once

#include <algorithm>
#include <deque>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "comm/allreduce/schedule.hpp"
#include "comm/allreduce/stage_sums.hpp"
#include "core/error.hpp"

namespace isaribi::schedule_test {

using comm::Exchange;
using comm::Hierarchy;
using comm::HierarchyLevel;
using comm::Message;
using comm::RankOrder;
using comm::Schedule;
using comm::Stage;

using Bytes = std::vector<std::byte>;

/// All ranks of a hierarchy in lockstep: what a round sends is what the same round receives.
class Simulation {
 public:
  Simulation(const Hierarchy& hierarchy, std::int64_t count, core::DType type, core::DType wire)
      : sums_(type, wire, nullptr) {
    for (int r = 0; r < hierarchy.ranks(); ++r) {
      schedules_.push_back(comm::Scheduler(hierarchy, r).schedule(count));
    }
  }
  /// @param lengths of parts, in the order of hierarchy.part_order()
  Simulation(const Hierarchy& hierarchy, const std::vector<std::int64_t>& lengths,
             comm::Collective collective, core::DType type, core::DType wire)
      : sums_(type, wire, nullptr) {
    for (int r = 0; r < hierarchy.ranks(); ++r) {
      schedules_.push_back(comm::Scheduler(hierarchy, r).schedule(lengths, collective));
    }
  }

  template <typename T>
  void run(std::vector<std::vector<T>>& buffers) {
    const std::size_t stages = schedules_.front().stages.size();
    for (std::size_t s = 0; s < stages; ++s) {
      if (s == stages / 2) round_what_is_held(buffers);
      int rounds = 0;
      for (const Schedule& schedule : schedules_)
        rounds = std::max(rounds, schedule.stages[s].rounds);
      for (int round = 0; round < rounds; ++round) exchange(s, round, buffers);
    }
  }

  /// Elements that left each domain, by its number; those between ranks of one do not count.
  std::vector<std::int64_t> left(const std::vector<int>& domain_of_rank) const {
    std::vector<std::int64_t> out(domain_of_rank.size(), 0);
    for (const auto& [pair, elements] : sent_) {
      const int from = domain_of_rank[static_cast<std::size_t>(pair.first)];
      if (from != domain_of_rank[static_cast<std::size_t>(pair.second)]) {
        out[static_cast<std::size_t>(from)] += elements;
      }
    }
    return out;
  }

  const std::vector<Schedule>& schedules() const { return schedules_; }

  std::string wrong;  ///< the first thing that is

 private:
  struct Sent {
    std::int64_t begin, end;
    Bytes payload;
  };

  template <typename T>
  static std::byte* memory(std::vector<T>& buffer) {
    return reinterpret_cast<std::byte*>(buffer.data());
  }
  void say(const std::string& what, std::size_t rank, std::size_t stage, int round) {
    if (wrong.empty()) {
      wrong = what + ", rank " + std::to_string(rank) + " stage " + std::to_string(stage) +
              " round " + std::to_string(round);
    }
  }

  template <typename T>
  void round_what_is_held(std::vector<std::vector<T>>& buffers) {
    for (std::size_t r = 0; r < schedules_.size(); ++r) {
      for (const auto& [begin, end] : schedules_[r].held) {
        sums_.round(memory(buffers[r]), begin, end);
      }
    }
  }

  template <typename T>
  void exchange(std::size_t s, int round, std::vector<std::vector<T>>& buffers) {
    std::map<std::pair<int, int>, std::deque<Sent>> under_way;
    for (std::size_t r = 0; r < schedules_.size(); ++r) {
      for (const Message& m : schedules_[r].stages[s].sends) {
        if (m.round != round) continue;
        if (m.begin >= m.end) say("an empty message", r, s, round);
        Sent sent{m.begin, m.end,
                  Bytes(static_cast<std::size_t>(sums_.wire_bytes(m.end - m.begin)))};
        if (sums_.narrow()) {
          sums_.put_out({&m, sent.payload.data()}, memory(buffers[r]));
        } else {
          std::copy_n(sums_.at(memory(buffers[r]), m.begin), sent.payload.size(),
                      sent.payload.begin());
        }
        under_way[{static_cast<int>(r), m.peer}].push_back(std::move(sent));
        sent_[{static_cast<int>(r), m.peer}] += m.end - m.begin;
      }
    }
    for (std::size_t r = 0; r < schedules_.size(); ++r) {
      receive(r, s, round, memory(buffers[r]), under_way);
    }
    for (const auto& [pair, messages] : under_way) {
      if (!messages.empty())
        say("a message that nobody receives", static_cast<std::size_t>(pair.first), s, round);
    }
  }

  void receive(std::size_t r, std::size_t s, int round, std::byte* buffer,
               std::map<std::pair<int, int>, std::deque<Sent>>& under_way) {
    const Stage& stage = schedules_[r].stages[s];
    std::deque<Sent> arrived;
    std::vector<comm::Slot> slots;
    for (const Message& m : stage.receives) {
      if (m.round != round) continue;
      std::deque<Sent>& queue = under_way[{m.peer, static_cast<int>(r)}];
      if (queue.empty() || queue.front().begin != m.begin || queue.front().end != m.end) {
        return say("another message than the one expected", r, s, round);
      }
      arrived.push_back(std::move(queue.front()));
      queue.pop_front();
      Bytes& payload = arrived.back().payload;
      if (stage.gather && !sums_.narrow()) {  // received in place
        std::copy(payload.begin(), payload.end(), sums_.at(buffer, m.begin));
      }
      slots.push_back({&m, payload.data()});
    }
    if (!slots.empty()) sums_.take_in(stage, slots, buffer);
  }

  comm::StageSums sums_;
  std::vector<Schedule> schedules_;
  std::map<std::pair<int, int>, std::int64_t> sent_;
};

/// Machine order with nodes of the sizes given, over and over, some nodes to a rack.
RankOrder nodes_of(const std::vector<int>& sizes, int ranks, int nodes_per_rack) {
  RankOrder order = RankOrder::flat(ranks);
  order.domains.assign(2, {});
  for (std::size_t node = 0; static_cast<int>(order.domains[0].size()) < ranks; ++node) {
    for (int i = 0; i < sizes[node % sizes.size()]; ++i) {
      order.domains[0].push_back(static_cast<int>(node));
      order.domains[1].push_back(static_cast<int>(node) / nodes_per_rack);
    }
  }
  for (auto& domain : order.domains) domain.resize(static_cast<std::size_t>(ranks));
  return order;
}

std::vector<std::vector<HierarchyLevel>> hierarchies(const RankOrder& order) {
  const int ranks = static_cast<int>(order.ranks.size());
  std::vector<std::vector<int>> sizes = comm::ordered_factorisations(ranks);
  sizes.front().resize(std::max<std::size_t>(sizes.front().size(), 1), 1);  // one rank
  sizes.push_back({2, (ranks + 1) / 2});
  sizes.push_back({3, 2, std::max((ranks + 3) / 4, 1)});
  sizes.push_back({2, 2, 2, ranks});
  std::vector<std::vector<HierarchyLevel>> all;
  for (const std::vector<int>& s : sizes) {
    for (int mix = 0; mix < 4; ++mix) {
      std::vector<HierarchyLevel> levels;
      for (std::size_t l = 0; l < s.size(); ++l) {
        const bool ring = mix == 0 || (mix == 2 && l % 2 == 0) || (mix == 3 && l % 2 == 1);
        levels.push_back({ring ? Exchange::ring : Exchange::direct, s[l]});
      }
      try {
        const Hierarchy fits(order, levels);
        all.push_back(levels);
      } catch (const core::UsageError&) {
        // Sizes that this order does not come together in.
      }
    }
  }
  return all;
}

template <typename T>
std::vector<std::vector<T>> integers(int ranks, std::int64_t count) {
  std::vector<std::vector<T>> buffers(static_cast<std::size_t>(ranks));
  for (int r = 0; r < ranks; ++r) {
    for (std::int64_t i = 0; i < count; ++i) {
      buffers[static_cast<std::size_t>(r)].push_back(static_cast<T>((i * 7 + r * 3) % 8));
    }
  }
  return buffers;
}

}  // namespace isaribi::schedule_test
