// SPDX-License-Identifier: MIT
#include "comm/allreduce/rack_search.hpp"

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <utility>

namespace isaribi::comm {
namespace {

constexpr double kClearGap = 1.3;

using Matrix = std::vector<std::vector<double>>;

/// Relative to what the slower node of a pair reaches with its best partner.
Matrix relative(const Matrix& rate) {
  const std::size_t n = rate.size();
  std::vector<double> best(n, 0);
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t j = 0; j < n; ++j) {
      if (i != j) best[i] = std::max(best[i], rate[i][j]);
    }
  }
  Matrix share(n, std::vector<double>(n, 0));
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t j = 0; j < n; ++j) {
      const double slower = std::min(best[i], best[j]);
      if (i != j && slower > 0) share[i][j] = rate[i][j] / slower;
    }
  }
  return share;
}

/// Two groups that became one, called by their lowest members.
struct Joining {
  std::size_t kept = 0, taken = 0;
  double share = 0;  ///< mean over their pairs
};

std::vector<Joining> average_linkage(Matrix share) {
  const std::size_t n = share.size();
  std::vector<std::size_t> alive(n);
  std::vector<double> members(n, 1);
  std::iota(alive.begin(), alive.end(), std::size_t{0});
  std::vector<Joining> joinings;
  while (alive.size() > 1) {
    Joining best{alive[0], alive[1], -1};
    for (std::size_t a = 0; a < alive.size(); ++a) {
      for (std::size_t b = a + 1; b < alive.size(); ++b) {
        const double s = share[alive[a]][alive[b]];
        if (s > best.share) best = {alive[a], alive[b], s};
      }
    }
    joinings.push_back(best);
    const auto [kept, taken, unused] = best;
    alive.erase(std::find(alive.begin(), alive.end(), taken));
    const double all = members[kept] + members[taken];
    for (const std::size_t other : alive) {
      if (other == kept) continue;
      const double mean =
          (members[kept] * share[kept][other] + members[taken] * share[taken][other]) / all;
      share[kept][other] = share[other][kept] = mean;
    }
    members[kept] = all;
  }
  return joinings;
}

std::vector<int> groups_after(const std::vector<Joining>& joinings, std::size_t count) {
  std::vector<int> group(joinings.size() + 1);
  std::iota(group.begin(), group.end(), 0);
  for (std::size_t j = 0; j < count; ++j) {
    const auto taken = static_cast<int>(joinings[j].taken);
    std::replace(group.begin(), group.end(), taken, static_cast<int>(joinings[j].kept));
  }
  int next = 0;
  std::vector<int> number(group.size(), -1);
  for (int& g : group) {
    int& known = number[static_cast<std::size_t>(g)];
    if (known < 0) known = next++;
    g = known;
  }
  return group;
}

/// Groups of two or more.
int several(const std::vector<int>& group) {
  int count = 0;
  for (int g = 0; g <= *std::max_element(group.begin(), group.end()); ++g) {
    if (std::count(group.begin(), group.end(), g) > 1) ++count;
  }
  return count;
}

}  // namespace

std::vector<std::vector<int>> tournament(int players, unsigned seed) {
  const int seats = players + players % 2;
  std::vector<int> seat(static_cast<std::size_t>(seats));
  std::iota(seat.begin(), seat.end(), 0);
  // Fisher & Yates with the generator of Park & Miller: alike in every standard library.
  std::uint64_t state = seed % 2147483646 + 1;
  for (int i = players - 1; i > 0 && seed > 0; --i) {
    state = state * 48271 % 2147483647;
    const auto other = state % static_cast<std::uint64_t>(i + 1);
    std::swap(seat[static_cast<std::size_t>(i)], seat[other]);
  }
  std::vector<std::vector<int>> rounds;
  for (int round = 0; round + 1 < seats; ++round) {
    std::vector<int> opponent(static_cast<std::size_t>(players), -1);
    for (int i = 0; i < seats / 2; ++i) {
      const int a = seat[static_cast<std::size_t>(i)],
                b = seat[static_cast<std::size_t>(seats - 1 - i)];
      if (a >= players || b >= players) continue;
      opponent[static_cast<std::size_t>(a)] = b;
      opponent[static_cast<std::size_t>(b)] = a;
    }
    rounds.push_back(opponent);
    std::rotate(seat.begin() + 1, seat.end() - 1, seat.end());  // the first one stays
  }
  return rounds;
}

std::vector<int> racks_by_rate(const std::vector<std::vector<double>>& rate) {
  const std::vector<int> none(rate.size(), 0);
  if (rate.size() < 4) return none;
  const std::vector<Joining> joinings = average_linkage(relative(rate));
  double widest = 0;
  std::size_t count = 0;
  for (std::size_t j = 0; j + 1 < joinings.size(); ++j) {
    const double gap = joinings[j].share / std::max(joinings[j + 1].share, 1e-12);
    if (gap > widest) {
      widest = gap;
      count = j + 1;
    }
  }
  if (widest < kClearGap) return none;
  const std::vector<int> groups = groups_after(joinings, count);
  return several(groups) < 2 ? none : groups;
}

}  // namespace isaribi::comm
