// SPDX-License-Identifier: MIT
#include "comm/allreduce/hierarchy.hpp"

#include <algorithm>
#include <charconv>
#include <numeric>
#include <utility>

#include "core/error.hpp"

namespace isaribi::comm {
namespace {

constexpr std::string_view kSyntax = "write levels innermost first, such as direct2-ring4";

std::uint64_t mix(std::uint64_t x) {  // the finaliser of SplitMix64
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

/// Most members that one domain has; `domain_of(member)` numbers them in increasing order.
template <typename DomainOf>
int most_members(int members, const DomainOf& domain_of) {
  int most = 0, run = 0;
  for (int m = 0; m < members; ++m) {
    run = m > 0 && domain_of(m) == domain_of(m - 1) ? run + 1 : 1;
    most = std::max(most, run);
  }
  return most;
}

}  // namespace

std::string_view name_of(Exchange exchange) {
  switch (exchange) {
    case Exchange::ring:
      return "ring";
    case Exchange::direct:
      return "direct";
    case Exchange::shared:
      return "shared";
    case Exchange::nccl:
      return "nccl";
    default:
      return "mpi";
  }
}

std::vector<HierarchyLevel> parse_levels(std::string_view text) {
  std::vector<HierarchyLevel> levels;
  std::string_view rest = text;
  while (true) {
    const std::string_view word = rest.substr(0, rest.find('-'));
    HierarchyLevel level;
    bool good = false;
    for (const Exchange exchange : kExchanges) {
      const std::string_view name = name_of(exchange);
      if (word.substr(0, name.size()) != name) continue;
      const char* end = word.data() + word.size();
      const auto [stop, error] = std::from_chars(word.data() + name.size(), end, level.size);
      good = error == std::errc{} && stop == end && level.size >= 1;
      level.exchange = exchange;
    }
    if (!good) {
      throw core::UsageError(
          "hierarchy \"" + std::string(text) + "\": \"" + std::string(word) +
              "\" is not ring, direct, shared, mpi or nccl with a number of members",
          std::string(kSyntax));
    }
    levels.push_back(level);
    if (word.size() == rest.size()) return levels;
    rest.remove_prefix(word.size() + 1);
  }
}

std::string to_text(const std::vector<HierarchyLevel>& levels) {
  std::string text;
  for (const HierarchyLevel& level : levels) {
    if (!text.empty()) text += '-';
    text += name_of(level.exchange);
    text += std::to_string(level.size);
  }
  return text;
}

RankOrder RankOrder::flat(int ranks) {
  RankOrder order;
  order.ranks.resize(static_cast<std::size_t>(ranks));
  std::iota(order.ranks.begin(), order.ranks.end(), 0);
  return order;
}

std::int64_t largest_segment(const std::vector<HierarchyLevel>& levels) {
  std::int64_t most = std::int64_t{1} << 29;  // MPI counts are int
  for (const HierarchyLevel& level : levels) {
    if (level.exchange == Exchange::shared) most = std::min(most, kLargestSharedSegment);
    if (level.exchange == Exchange::nccl) most = std::min(most, kLargestNcclSegment);
  }
  return most;
}

Hierarchy::Hierarchy(const RankOrder& order, const std::vector<HierarchyLevel>& levels)
    : order_(order.ranks), position_(order.ranks.size()), levels_(levels) {
  for (std::size_t i = 0; i < order_.size(); ++i) {
    position_[static_cast<std::size_t>(order_[i])] = static_cast<int>(i);
  }
  std::vector<Group> members(order_.size());  // those of the level at hand
  for (int i = 0; i < ranks(); ++i) members[static_cast<std::size_t>(i)] = {{i}, i, 1};

  std::size_t open = 0;  // innermost domain that groups respect
  for (const HierarchyLevel& level : levels_) {
    const int count = static_cast<int>(members.size());
    const auto domain_of = [&](int m) {
      const int position = members[static_cast<std::size_t>(m)].first_position;
      return order.domains[open][static_cast<std::size_t>(position)];
    };
    while (open < order.domains.size()) {
      const int most = most_members(count, domain_of);
      if (most > 1 && level.size <= most) break;
      ++open;  // closed, or ignored
    }
    std::vector<Group> groups;
    for (int m = 0; m < count; ++m) {
      const bool crosses = m > 0 && open < order.domains.size() && domain_of(m) != domain_of(m - 1);
      if (groups.empty() || crosses ||
          static_cast<int>(groups.back().members.size()) == level.size) {
        groups.push_back({{}, members[static_cast<std::size_t>(m)].first_position, 0});
      }
      groups.back().members.push_back(m);
      groups.back().positions += members[static_cast<std::size_t>(m)].positions;
    }
    groups_.push_back(groups);
    members = std::move(groups);
  }
  if (members.size() != 1) {
    throw core::UsageError("hierarchy \"" + text() + "\" leaves " + std::to_string(members.size()) +
                               " groups of " + std::to_string(ranks()) + " ranks apart",
                           "the sizes multiply to the number of ranks, or more");
  }
  for (int l = 0; l < this->levels(); ++l) {
    if (is_black_box(level(l).exchange)) check_even(l);
  }
}

// Only then do the same ranks always meet.
void Hierarchy::check_even(int l) const {
  for (int below = 0; below <= l; ++below) {
    for (const Group& group : groups(below)) {
      if (group.members.size() == groups(below).front().members.size()) continue;
      throw core::UsageError("hierarchy \"" + text() + "\": the library of level " +
                                 to_text({level(l)}) +
                                 " needs groups of one size, those of level " +
                                 to_text({level(below)}) + " are uneven",
                             "ring and direct take any groups");
    }
  }
}

int Hierarchy::group_of(int l, int position) const {
  const std::vector<Group>& all = groups(l);
  const auto after = std::upper_bound(all.begin(), all.end(), position,
                                      [](int p, const Group& g) { return p < g.first_position; });
  return static_cast<int>(after - all.begin()) - 1;
}

Hierarchy::Place Hierarchy::place_of(int l, int position) const {
  const std::vector<int>& members =
      groups(l)[static_cast<std::size_t>(group_of(l, position))].members;
  const int mine = l == 0 ? position : group_of(l - 1, position);
  return {mine - members.front(), static_cast<int>(members.size())};  // members are consecutive
}

std::vector<int> Hierarchy::part_order() const {
  std::vector<std::pair<std::vector<int>, int>> places;
  for (int p = 0; p < ranks(); ++p) {
    places.push_back({{}, p});
    for (int l = 0; l < levels(); ++l) places.back().first.push_back(place_of(l, p).index);
  }
  std::sort(places.begin(), places.end());
  std::vector<int> order;
  for (const auto& [indices, position] : places) order.push_back(position);
  return order;
}

std::uint64_t Hierarchy::sum_signature() const {
  std::vector<std::uint64_t> sums;
  for (const int rank : order_) sums.push_back(mix(static_cast<std::uint64_t>(rank) + 1));
  for (int l = 0; l < levels(); ++l) {
    std::vector<std::uint64_t> next;
    for (const Group& group : groups(l)) {
      const Exchange exchange = level(l).exchange;
      const bool fixed = exchange == Exchange::direct || exchange == Exchange::shared;
      if (!fixed && group.members.size() > 2) return 0;
      std::vector<std::uint64_t> part;
      for (const int m : group.members) part.push_back(sums[static_cast<std::size_t>(m)]);
      // As the sum itself (schedule_runner.cpp): neighbours, then pairs of neighbours. Addition
      // commutes, and so does this.
      for (std::size_t width = 1; width < part.size(); width *= 2) {
        for (std::size_t i = 0; i + width < part.size(); i += 2 * width) {
          part[i] = mix(part[i] + part[i + width]);
        }
      }
      next.push_back(part.front());
    }
    sums = std::move(next);
  }
  return sums.front();
}

std::vector<std::vector<int>> ordered_factorisations(int n) {
  if (n == 1) return {{}};
  std::vector<std::vector<int>> all;
  for (int first = 2; first <= n; ++first) {
    if (n % first != 0) continue;
    for (const std::vector<int>& rest : ordered_factorisations(n / first)) {
      all.push_back({first});
      all.back().insert(all.back().end(), rest.begin(), rest.end());
    }
  }
  return all;
}

}  // namespace isaribi::comm
