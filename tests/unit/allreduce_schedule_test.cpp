// SPDX-License-Identifier: MIT
// Schedules of all ranks, run in memory: every send meets its receive, sums are exact, and the
// bytes through the doors of nodes and racks are near the least possible.
#include <algorithm>
#include <bit>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "allreduce_schedule_support.hpp"
#include "catch.hpp"
#include "comm/allreduce/plan_choice.hpp"

using namespace isaribi;
using namespace isaribi::schedule_test;

namespace {

/// Runs and compares with the exact sum; what is wrong, or nothing.
template <typename T>
std::string judge(Simulation& simulation, int ranks, std::int64_t count) {
  std::vector<std::vector<T>> buffers = integers<T>(ranks, count);
  std::vector<T> expected(static_cast<std::size_t>(count), T(0));
  for (const auto& buffer : buffers) {
    std::transform(buffer.begin(), buffer.end(), expected.begin(), expected.begin(),
                   std::plus<T>());
  }
  simulation.run(buffers);
  for (const auto& buffer : buffers) {
    if (simulation.wrong.empty() && buffer != expected) simulation.wrong = "a wrong sum";
  }
  return simulation.wrong;
}

/// The sum of a group by a binary tree over its members, neighbours first.
std::vector<float> tree(const Hierarchy& hierarchy, int level, int group,
                        const std::vector<std::vector<float>>& buffers) {
  if (level < 0) return buffers[static_cast<std::size_t>(hierarchy.rank_at(group))];
  std::vector<std::vector<float>> part;
  for (const int m : hierarchy.groups(level)[static_cast<std::size_t>(group)].members) {
    part.push_back(tree(hierarchy, level - 1, m, buffers));
  }
  while (part.size() > 1) {
    std::vector<std::vector<float>> half;
    for (std::size_t i = 0; i < part.size(); i += 2) {
      half.push_back(part[i]);
      if (i + 1 == part.size()) continue;
      for (std::size_t e = 0; e < part[i].size(); ++e) half.back()[e] = part[i][e] + part[i + 1][e];
    }
    part = std::move(half);
  }
  return part.front();
}

std::vector<std::vector<float>> fractions(int ranks, std::int64_t count) {
  std::vector<std::vector<float>> buffers(static_cast<std::size_t>(ranks));
  for (int r = 0; r < ranks; ++r) {
    for (std::int64_t i = 0; i < count; ++i) {
      buffers[static_cast<std::size_t>(r)].push_back(
          1.0F / static_cast<float>(1 + (i * 31 + r * 17) % 101));
    }
  }
  return buffers;
}

/// Largest number of elements that leave a domain, over the least possible for `domains` of them.
double over_the_cut(const Simulation& simulation, const RankOrder& order, std::size_t kind,
                    std::int64_t count) {
  const std::vector<int>& domain = order.domains[kind];
  std::vector<int> by_rank(domain.size());
  for (std::size_t p = 0; p < domain.size(); ++p)
    by_rank[static_cast<std::size_t>(order.ranks[p])] = domain[p];
  const std::vector<std::int64_t> out = simulation.left(by_rank);
  const double k = domain.back() + 1;
  return static_cast<double>(*std::max_element(out.begin(), out.end())) /
         (2 * (k - 1) / k * static_cast<double>(count));
}

}  // namespace

TEST_CASE("schedules: every hierarchy of 1 to 17 ranks sums every count") {
  for (int ranks = 1; ranks <= 17; ++ranks) {
    RankOrder backwards = nodes_of({1, 3, 2, 2}, ranks, 2);
    std::reverse(backwards.ranks.begin(), backwards.ranks.end());
    for (const RankOrder& order : {RankOrder::flat(ranks), backwards}) {
      for (const auto& levels : hierarchies(order)) {
        const Hierarchy hierarchy(order, levels);
        for (const std::int64_t count : {0, 1, ranks - 1, ranks, 3 * ranks + 1, 97}) {
          Simulation exact(hierarchy, count, core::DType::i32, core::DType::i32);
          Simulation narrow(hierarchy, count, core::DType::f32, core::DType::bf16);
          INFO(hierarchy.text() << " of " << ranks << " ranks, " << count << " elements");
          CHECK(judge<std::int32_t>(exact, ranks, count).empty());
          CHECK(judge<float>(narrow, ranks, count).empty());
        }
      }
    }
  }
}

TEST_CASE("schedules: parts held in between cover a buffer once, alike where groups are even") {
  for (const auto& [ranks, levels] :
       {std::pair{12, "direct3-ring4"}, {13, "ring4-direct4"}, {17, "direct2-ring3-direct3"}}) {
    const Hierarchy hierarchy(RankOrder::flat(ranks), comm::parse_levels(levels));
    for (const std::int64_t count :
         {std::int64_t{0}, std::int64_t{5}, std::int64_t{12 * 13 * 17}}) {
      std::vector<int> holders(static_cast<std::size_t>(count), 0);
      for (int r = 0; r < ranks; ++r) {
        std::int64_t mine = 0;
        for (const auto& [begin, end] : comm::Scheduler(hierarchy, r).schedule(count).held) {
          for (std::int64_t i = begin; i < end; ++i) ++holders[static_cast<std::size_t>(i)];
          mine += end - begin;
        }
        if (ranks == 12)
          CHECK(std::abs(static_cast<double>(mine) - static_cast<double>(count) / 12) < 2);
      }
      CHECK(std::count(holders.begin(), holders.end(), 1) == count);
    }
  }
}

TEST_CASE("schedules: a direct exchange adds by the tree that its signature stands for") {
  const std::int64_t count = 61;
  for (int ranks = 1; ranks <= 17; ++ranks) {
    const auto buffers = fractions(ranks, count);
    for (const RankOrder& order : {RankOrder::flat(ranks), nodes_of({1, 3, 2, 2}, ranks, 2)}) {
      for (const auto& levels : hierarchies(order)) {
        const Hierarchy hierarchy(order, levels);
        if (hierarchy.sum_signature() == 0) continue;
        const std::vector<float> expected = tree(hierarchy, hierarchy.levels() - 1, 0, buffers);
        Simulation simulation(hierarchy, count, core::DType::f32, core::DType::f32);
        auto result = buffers;
        simulation.run(result);
        INFO(hierarchy.text() << " of " << ranks);
        CHECK(simulation.wrong.empty());
        CHECK(std::all_of(result.begin(), result.end(),
                          [&](const auto& r) { return r == expected; }));
      }
    }
  }
}

TEST_CASE("schedules: pieces longer than a block of the arithmetic") {
  for (const char* levels : {"direct3", "ring3", "direct2-ring2"}) {
    for (const core::DType wire : {core::DType::f32, core::DType::bf16}) {
      const std::int64_t count = 3 * 5000 + 1;
      Simulation simulation({RankOrder::flat(3), comm::parse_levels(levels)}, count,
                            core::DType::f32, wire);
      CHECK(judge<float>(simulation, 3, count).empty());
    }
  }
}

TEST_CASE("schedules: a narrow wire rounds once a level, and all ranks hold the same bits") {
  const std::int64_t count = 100;
  for (const auto& [ranks, levels] :
       {std::pair{8, "direct8"}, {8, "direct2-direct4"}, {13, "direct4-direct2-direct2"}}) {
    const Hierarchy hierarchy(RankOrder::flat(ranks), comm::parse_levels(levels));
    Simulation simulation(hierarchy, count, core::DType::f32, core::DType::bf16);
    auto buffers = fractions(ranks, count);
    std::vector<double> exact(static_cast<std::size_t>(count), 0);
    for (const auto& b : buffers) {
      for (std::size_t i = 0; i < b.size(); ++i) exact[i] += b[i];
    }
    simulation.run(buffers);
    CHECK(simulation.wrong.empty());
    double worst = 0;
    for (std::size_t i = 0; i < exact.size(); ++i) {
      worst = std::max(worst, std::abs(buffers[0][i] / exact[i] - 1));
      CHECK((std::bit_cast<std::uint32_t>(buffers[0][i]) & 0xffffU) == 0);  // a bf16
    }
    CHECK(worst <= (hierarchy.levels() + 1) / 256.0 * 1.01);
    CHECK(worst > 1.0 / 1024);  // it did round
    CHECK(std::all_of(buffers.begin(), buffers.end(),
                      [&](const auto& b) { return b == buffers[0]; }));
  }
}

TEST_CASE("schedules: ragged and prime machines stay near the cuts of nodes and racks") {
  struct Case {
    RankOrder order;
    const char* levels;
    std::int64_t count;
  };
  const Case cases[] = {
      {nodes_of({1}, 7, 100), "ring7", 70},
      {nodes_of({1}, 7, 100), "direct2-ring4", 840},
      {nodes_of({1}, 13, 100), "direct13", 130},
      {nodes_of({1}, 13, 100), "direct4-ring4", 13 * 48},
      {nodes_of({1}, 31, 100), "ring31", 310},
      {nodes_of({1}, 31, 100), "direct4-direct2-ring4", 31 * 96},
      {nodes_of({2}, 7, 100), "direct2-ring4", 840},
      {nodes_of({2}, 13, 100), "direct2-ring7", 840},
      {nodes_of({4}, 31, 100), "ring4-direct8", 960},
      {nodes_of({1, 3, 2, 2}, 8, 100), "direct3-ring4", 960},
      {nodes_of({1, 3, 2, 2}, 8, 2), "ring3-direct2-direct2", 960},
      {nodes_of({5, 1, 1}, 7, 100), "direct5-ring3", 900},
      {nodes_of({8, 3}, 22, 2), "ring8-direct2-direct2", 2640},
      {nodes_of({4}, 272, 34), "direct4-ring34-direct2", 8 * 1360},
      {nodes_of({4}, 272, 34), "direct4-direct2-ring17-direct2", 8 * 1360},
      {nodes_of({4}, 200, 34), "direct4-ring34-direct2", 16 * 1360},  // racks of 34 and 16
      {nodes_of({1}, 766, 383), "ring383-direct2", 1532},
      {nodes_of({1}, 766, 10000), "direct2-ring383", 1532},
      {nodes_of({1}, 766, 10000), "ring32-ring24", 24 * 960},
  };
  for (const Case& c : cases) {
    const Hierarchy hierarchy(c.order, comm::parse_levels(c.levels));
    Simulation simulation(hierarchy, c.count, core::DType::i32, core::DType::i32);
    INFO(c.levels << " of " << hierarchy.ranks() << " ranks");
    CHECK(judge<std::int32_t>(simulation, hierarchy.ranks(), c.count).empty());
    CHECK(over_the_cut(simulation, c.order, 0, c.count) >= 0.999);
    CHECK(over_the_cut(simulation, c.order, 0, c.count) <= 1.15);
    if (c.order.domains[1].back() > 0) {
      CHECK(over_the_cut(simulation, c.order, 1, c.count) >= 0.999);
      CHECK(over_the_cut(simulation, c.order, 1, c.count) <= 1.15);
    }
  }
}
