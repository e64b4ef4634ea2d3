// SPDX-License-Identifier: MIT
#include "comm/allreduce/plan_choice.hpp"

#include <algorithm>
#include <charconv>
#include <set>

#include "core/error.hpp"

namespace isaribi::comm {
namespace {

constexpr std::size_t kMostFactorisations = 4096;  // of one machine

/// Ordered factorisations of n; when n has a prime factor above 5 also those of the next number
/// that has none: the last groups are then smaller.
std::vector<std::vector<int>> factor_lists(int n) {
  std::vector<std::vector<int>> lists = ordered_factorisations(n);
  const auto rough = [](int m) {
    for (const int p : {2, 3, 5}) {
      while (m % p == 0) m /= p;
    }
    return m > 1;
  };
  if (!rough(n)) return lists;
  int smooth = n + 1;
  while (rough(smooth)) ++smooth;
  for (std::vector<int>& list : ordered_factorisations(smooth)) lists.push_back(std::move(list));
  return lists;
}

/// Every way to take neighbouring kinds of domain as one: sizes of {4, 34, 32} and {136, 32}, ...
std::vector<std::vector<int>> merged(const Topology& topology) {
  const std::size_t kinds = topology.order.domains.size();
  std::vector<std::vector<int>> all;
  for (std::size_t kept = 0; kept < (std::size_t{1} << kinds); ++kept) {
    Topology part = topology;
    part.order.domains.clear();
    for (std::size_t d = 0; d < kinds; ++d) {
      if ((kept >> d & 1U) != 0) part.order.domains.push_back(topology.order.domains[d]);
    }
    all.push_back(part.shape());
  }
  return all;
}

bool comes_together(const RankOrder& order, const std::vector<int>& sizes, Exchange outermost) {
  std::vector<HierarchyLevel> levels;
  for (const int size : sizes) levels.push_back({Exchange::direct, size});
  levels.back().exchange = outermost;
  try {
    const Hierarchy fits(order, levels);
    return true;
  } catch (const core::UsageError&) {
    return false;
  }
}

/// The exchanges that each level may use: two members directly, which is the same as a ring; shared
/// memory inside a node; the library outermost, between nodes, and not alone, which would be its
/// own allreduce. None where the levels do not come together: sizes are those of the largest
/// domains, and smaller ones may not fit them.
std::vector<std::vector<Exchange>> exchanges_of(const Topology& topology,
                                                const std::vector<int>& sizes, bool messages_only) {
  if (!comes_together(topology.order, sizes, Exchange::direct)) return {};
  std::vector<HierarchyLevel> levels;
  for (const int size : sizes) levels.push_back({Exchange::direct, size});
  const Hierarchy hierarchy(topology.order, levels);
  std::vector<std::vector<Exchange>> all;
  for (int l = 0; l < hierarchy.levels(); ++l) {
    all.push_back({Exchange::direct});
    if (levels[static_cast<std::size_t>(l)].size > 2) all.back().push_back(Exchange::ring);
    if (messages_only) continue;
    if (!topology.spans_nodes(hierarchy, l)) {
      all.back().push_back(Exchange::shared);
    } else if (l > 0 && l + 1 == hierarchy.levels() &&
               comes_together(topology.order, sizes, Exchange::library)) {
      all.back().push_back(Exchange::library);
    }
  }
  return all;
}

void add_levels(const std::vector<int>& sizes, const std::vector<std::vector<Exchange>>& exchanges,
                std::vector<HierarchyLevel>& levels,
                std::vector<std::vector<HierarchyLevel>>& all) {
  const std::size_t l = levels.size();
  if (l == sizes.size()) {
    all.push_back(levels);
    return;
  }
  for (const Exchange exchange : exchanges[l]) {
    levels.push_back({exchange, sizes[l]});
    add_levels(sizes, exchanges, levels, all);
    levels.pop_back();
  }
}

}  // namespace

std::string bytes_to_text(std::int64_t bytes) {
  for (const auto& [unit, shift] : {std::pair{'G', 30}, {'M', 20}, {'K', 10}}) {
    if (bytes > 0 && bytes % (std::int64_t{1} << shift) == 0) {
      return std::to_string(bytes >> shift) + unit;
    }
  }
  return std::to_string(bytes);
}

std::int64_t parse_bytes(std::string_view text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  std::string_view unit(end, static_cast<std::size_t>(text.data() + text.size() - end));
  const int shift = unit == "K" ? 10 : unit == "M" ? 20 : unit == "G" ? 30 : 0;
  const bool fits = value > 0 && value <= (std::int64_t{1} << 50) >> shift;
  if (error != std::errc{} || (shift == 0 && !unit.empty()) || !fits) {
    throw core::UsageError("\"" + std::string(text) + "\" is not a number of bytes",
                           "such as 65536, 64K, 16M or 1G");
  }
  return value << shift;
}

std::string PlanChoice::text() const {
  if (library()) return "mpi";
  std::string text = to_text(levels);
  if (segment_bytes > 0) {
    text += '/';
    text += bytes_to_text(segment_bytes);
  }
  return text;
}

PlanChoice parse_plan(std::string_view text) {
  if (text == "mpi") return {};
  const std::size_t slash = text.find('/');
  PlanChoice plan{parse_levels(text.substr(0, slash)), 0};
  if (slash != std::string_view::npos) plan.segment_bytes = parse_bytes(text.substr(slash + 1));
  return plan;
}

int first_wire_level(const Topology& topology, const Hierarchy& hierarchy) {
  int level = 0;
  while (topology.nodes > 1 && level < hierarchy.levels() &&
         !topology.spans_nodes(hierarchy, level)) {
    ++level;
  }
  return level;
}

void check_plan(const Topology& topology, const PlanChoice& plan, std::optional<core::DType> wire) {
  if (plan.library()) return;
  const Hierarchy hierarchy(topology.order, plan.levels);
  const auto refuse = [&](int l, const std::string& why, const char* hint) {
    throw core::UsageError("plan " + plan.text() + ": level " + to_text({plan.levels[l]}) + why,
                           hint);
  };
  for (int l = 0; l < hierarchy.levels(); ++l) {
    const Exchange exchange = hierarchy.level(l).exchange;
    if (exchange == Exchange::shared && topology.spans_nodes(hierarchy, l)) {
      refuse(l, " joins ranks of several nodes, which share no memory",
             "shared levels come first and end inside a node");
    }
    if (exchange == Exchange::library && wire && l >= first_wire_level(topology, hierarchy)) {
      refuse(l, " is of the library, which cannot send " + std::string(core::name_of(*wire)),
             "ring and direct can");
    }
  }
}

std::vector<std::vector<HierarchyLevel>> candidate_levels(const Topology& topology,
                                                          bool messages_only) {
  std::set<std::vector<int>> sizes;
  for (const std::vector<int>& shape : merged(topology)) {
    std::vector<std::vector<int>> lists{{}};
    for (const int n : shape) {
      std::vector<std::vector<int>> longer;
      for (const std::vector<int>& list : lists) {
        for (const std::vector<int>& factors : factor_lists(n)) {
          longer.push_back(list);
          longer.back().insert(longer.back().end(), factors.begin(), factors.end());
          if (longer.size() > kMostFactorisations) break;
        }
      }
      lists = std::move(longer);
    }
    sizes.insert(lists.begin(), lists.end());
  }
  std::vector<std::vector<HierarchyLevel>> all;
  for (const std::vector<int>& list : sizes) {
    if (list.empty()) continue;
    const auto exchanges = exchanges_of(topology, list, messages_only);
    std::vector<HierarchyLevel> levels;
    if (!exchanges.empty()) add_levels(list, exchanges, levels, all);
  }
  return all;
}

}  // namespace isaribi::comm
