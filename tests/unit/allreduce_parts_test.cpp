// SPDX-License-Identifier: MIT
// Schedules that go one way only, with a part per rank: sums end where they belong, copies come
// from there, whatever the parts; bytes and messages are as few as they can be.
#include <algorithm>
#include <numeric>
#include <string>
#include <vector>

#include "allreduce_schedule_support.hpp"
#include "catch.hpp"
#include "comm/allreduce/plan_choice.hpp"

using namespace isaribi;
using namespace isaribi::schedule_test;
using comm::Collective;

namespace {

using Lengths = std::vector<std::int64_t>;

std::int64_t sum(const Lengths& lengths) {
  return std::accumulate(lengths.begin(), lengths.end(), std::int64_t{0});
}

/// Alike, uneven, primes, nothing, P - 1 in all, everything at one rank, every other one nothing.
std::vector<Lengths> lists(int ranks) {
  const auto p = static_cast<std::size_t>(ranks);
  std::vector<Lengths> all{Lengths(p, 0), Lengths(p, 1), Lengths(p, 6), Lengths(p, 0)};
  all.back()[p / 2] = 53;
  for (int kind = 0; kind < 4; ++kind) {
    all.emplace_back();
    const std::int64_t primes[] = {13, 2, 7, 3, 11, 5};
    for (std::int64_t r = 0; r < ranks; ++r) {
      const std::int64_t lengths[] = {r, primes[r % 6], r % 2 == 0 ? 0 : 9, r < ranks - 1 ? 1 : 0};
      all.back().push_back(lengths[kind]);
    }
  }
  return all;
}

/// Where the part of each rank begins in the buffer.
Lengths begins(const Hierarchy& hierarchy, const Lengths& lengths) {
  Lengths of_rank(lengths.size());
  std::int64_t begin = 0;
  const std::vector<int> order = hierarchy.part_order();
  for (std::size_t i = 0; i < order.size(); ++i) {
    of_rank[static_cast<std::size_t>(hierarchy.rank_at(order[i]))] = begin;
    begin += lengths[i];
  }
  return of_rank;
}

/// The part of each rank, [begin, end).
std::vector<std::pair<std::int64_t, std::int64_t>> parts(const Hierarchy& hierarchy,
                                                         const Lengths& lengths) {
  const Lengths first = begins(hierarchy, lengths);
  std::vector<std::pair<std::int64_t, std::int64_t>> all(first.size());
  const std::vector<int> order = hierarchy.part_order();
  for (std::size_t i = 0; i < order.size(); ++i) {
    const auto rank = static_cast<std::size_t>(hierarchy.rank_at(order[i]));
    all[rank] = {first[rank], first[rank] + lengths[i]};
  }
  return all;
}

template <typename T>
std::string judge_scatter(const Hierarchy& hierarchy, const Lengths& lengths, core::DType wire) {
  Simulation simulation(hierarchy, lengths, Collective::reduce_scatter, core::dtype_of<T>, wire);
  const std::int64_t count = sum(lengths);
  auto buffers = integers<T>(hierarchy.ranks(), count);
  std::vector<T> expected(static_cast<std::size_t>(count), T(0));
  for (const auto& b : buffers) {
    std::transform(b.begin(), b.end(), expected.begin(), expected.begin(), std::plus<T>());
  }
  simulation.run(buffers);
  const auto of_rank = parts(hierarchy, lengths);
  for (std::size_t r = 0; r < buffers.size() && simulation.wrong.empty(); ++r) {
    const auto [begin, end] = of_rank[r];
    if (!std::equal(expected.begin() + begin, expected.begin() + end, buffers[r].begin() + begin))
      simulation.wrong = "a wrong sum";
    Lengths held;
    for (const auto& [b, e] : simulation.schedules()[r].held) held.insert(held.end(), {b, e});
    if (held != (begin == end ? Lengths{} : Lengths{begin, end}))
      simulation.wrong = "holds another part than its own";
  }
  return simulation.wrong;
}

template <typename T>
std::string judge_gather(const Hierarchy& hierarchy, const Lengths& lengths, core::DType wire) {
  Simulation simulation(hierarchy, lengths, Collective::all_gather, core::dtype_of<T>, wire);
  const std::int64_t count = sum(lengths);
  const auto given = integers<T>(hierarchy.ranks(), count);
  const auto of_rank = parts(hierarchy, lengths);
  std::vector<std::vector<T>> buffers(given.size(), std::vector<T>(given.front().size(), T(77)));
  std::vector<T> expected(given.front().size());
  for (std::size_t r = 0; r < given.size(); ++r) {
    const auto [begin, end] = of_rank[r];
    std::copy(given[r].begin() + begin, given[r].begin() + end, buffers[r].begin() + begin);
    std::copy(given[r].begin() + begin, given[r].begin() + end, expected.begin() + begin);
  }
  simulation.run(buffers);
  for (const auto& b : buffers) {
    if (simulation.wrong.empty() && b != expected) simulation.wrong = "a wrong copy";
  }
  return simulation.wrong;
}

/// Elements of sums that the fullest domain sends out, over the least that it can: those that
/// others own.
double over_the_door(const RankOrder& order, const Hierarchy& hierarchy, const Lengths& lengths) {
  Simulation simulation(hierarchy, lengths, Collective::reduce_scatter, core::DType::i32,
                        core::DType::i32);
  auto buffers = integers<std::int32_t>(hierarchy.ranks(), sum(lengths));
  simulation.run(buffers);
  const std::vector<int>& domain = order.domains[0];  // ranks are in order
  std::vector<std::int64_t> own(domain.size(), 0);
  const auto of_rank = parts(hierarchy, lengths);
  for (std::size_t r = 0; r < domain.size(); ++r)
    own[static_cast<std::size_t>(domain[r])] += of_rank[r].second - of_rank[r].first;
  const std::vector<std::int64_t> out = simulation.left(domain);
  const std::int64_t least =
      sum(lengths) - *std::min_element(own.begin(), own.begin() + domain.back() + 1);
  return static_cast<double>(*std::max_element(out.begin(), out.end())) /
         static_cast<double>(least);
}

}  // namespace

TEST_CASE("parts: every hierarchy of 1 to 17 ranks scatters sums and gathers copies") {
  for (int ranks = 1; ranks <= 17; ++ranks) {
    RankOrder backwards = nodes_of({1, 3, 2, 2}, ranks, 2);
    std::reverse(backwards.ranks.begin(), backwards.ranks.end());
    for (const RankOrder& order : {RankOrder::flat(ranks), backwards}) {
      for (const auto& levels : hierarchies(order)) {
        const Hierarchy hierarchy(order, levels);
        for (const Lengths& lengths : lists(ranks)) {
          INFO(hierarchy.text() << " of " << ranks << " ranks, " << sum(lengths) << " elements");
          CHECK(judge_scatter<std::int32_t>(hierarchy, lengths, core::DType::i32).empty());
          CHECK(judge_gather<std::int32_t>(hierarchy, lengths, core::DType::i32).empty());
          CHECK(judge_scatter<float>(hierarchy, lengths, core::DType::bf16).empty());
          CHECK(judge_gather<float>(hierarchy, lengths, core::DType::bf16).empty());
        }
      }
    }
  }
}

TEST_CASE("parts: the order of sums does not depend on who owns what") {
  for (const char* levels : {"direct12", "direct2-direct6", "direct3-direct2-direct2"}) {
    const Hierarchy hierarchy(RankOrder::flat(12), comm::parse_levels(levels));
    std::vector<float> expected;
    for (const Lengths& lengths : {Lengths(12, 5), Lengths{60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
                                   Lengths{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 5, 0}}) {
      Simulation simulation(hierarchy, lengths, Collective::reduce_scatter, core::DType::f32,
                            core::DType::f32);
      std::vector<std::vector<float>> buffers(12);
      for (int r = 0; r < 12; ++r) {
        for (int i = 0; i < 60; ++i)
          buffers[static_cast<std::size_t>(r)].push_back(
              1.0F / static_cast<float>(1 + (i * 31 + r * 17) % 101));
      }
      simulation.run(buffers);
      std::vector<float> whole(60);
      const auto of_rank = parts(hierarchy, lengths);
      for (std::size_t r = 0; r < 12; ++r) {
        std::copy(buffers[r].begin() + of_rank[r].first, buffers[r].begin() + of_rank[r].second,
                  whole.begin() + of_rank[r].first);
      }
      if (expected.empty()) expected = whole;
      CHECK(simulation.wrong.empty());
      CHECK(whole == expected);
    }
  }
}

TEST_CASE("parts: of even groups every member gets one message a level") {
  for (const char* levels : {"direct2-direct4", "direct4-direct2", "direct2-direct2-direct2"}) {
    RankOrder order = RankOrder::flat(8);
    std::swap(order.ranks[1], order.ranks[6]);
    const Hierarchy hierarchy(order, comm::parse_levels(levels));
    for (const Lengths& lengths : {Lengths(8, 40), Lengths{3, 1, 4, 1, 5, 9, 2, 6}}) {
      for (int r = 0; r < 8; ++r) {
        for (const Collective way : {Collective::reduce_scatter, Collective::all_gather}) {
          for (const Stage& s : comm::Scheduler(hierarchy, r).schedule(lengths, way).stages) {
            const bool used = s.gather == (way == Collective::all_gather);
            CHECK(s.sends.size() == (used ? static_cast<std::size_t>(s.members - 1) : 0));
            CHECK(s.receives.size() == s.sends.size());
          }
        }
      }
    }
  }
}

TEST_CASE("parts: no more than must leaves a node") {
  struct Case {
    RankOrder order;
    const char* levels;
  };
  const Case cases[] = {{nodes_of({2}, 8, 100), "direct2-ring4"},
                        {nodes_of({2}, 8, 100), "direct2-direct4"},
                        {nodes_of({4}, 32, 100), "ring4-ring8"},
                        {nodes_of({1, 3, 2, 2}, 8, 100), "direct3-ring4"}};
  for (const Case& c : cases) {
    const Hierarchy hierarchy(c.order, comm::parse_levels(c.levels));
    const auto ranks = static_cast<std::size_t>(hierarchy.ranks());
    Lengths one(ranks, 0), uneven;
    one[ranks / 2] = 2400;
    for (std::size_t r = 0; r < ranks; ++r)
      uneven.push_back(static_cast<std::int64_t>(120 * (r % 5)));
    INFO(c.levels);
    for (const Lengths& lengths : {Lengths(ranks, 120), uneven, one}) {
      CHECK(over_the_door(c.order, hierarchy, lengths) >= 0.999);
      CHECK(over_the_door(c.order, hierarchy, lengths) <= 1.001);
    }
  }
}
