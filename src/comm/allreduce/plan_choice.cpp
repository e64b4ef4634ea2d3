// SPDX-License-Identifier: MIT
#include "comm/allreduce/plan_choice.hpp"

#include <algorithm>
#include <charconv>
#include <set>

#include "core/error.hpp"

namespace isaribi::comm {
namespace {

constexpr std::size_t kMostFactorisations = 4096;  // of one machine
constexpr std::size_t kMostHierarchies = 10000;    // more take seconds to weigh

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

/// Whether levels of these sizes make a hierarchy whose level `l` is done by `exchange`.
bool comes_together(const RankOrder& order, const std::vector<int>& sizes, std::size_t l,
                    Exchange exchange) {
  std::vector<HierarchyLevel> levels;
  for (const int size : sizes) levels.push_back({Exchange::direct, size});
  levels[l].exchange = exchange;
  try {
    const Hierarchy fits(order, levels);
    return true;
  } catch (const core::UsageError&) {
    return false;
  }
}

/// What one level may be.
struct LevelChoice {
  int size = 1;
  bool between_nodes = false;
  std::vector<Exchange> exchanges;
  bool allows(Exchange e) const {
    return std::find(exchanges.begin(), exchanges.end(), e) != exchanges.end();
  }
};

/// The exchanges that each level may use: two members directly, which is the same as a ring; shared
/// memory inside a node; NCCL where ranks have GPUs; the library outermost, between nodes, and not
/// alone, which would be its own allreduce. None where the levels do not come together: sizes are
/// those of the largest domains, and smaller ones may not fit them.
std::vector<LevelChoice> choices_of(const Topology& topology, const std::vector<int>& sizes,
                                    bool messages_only) {
  if (sizes.empty() || !comes_together(topology.order, sizes, 0, Exchange::direct)) return {};
  std::vector<HierarchyLevel> levels;
  for (const int size : sizes) levels.push_back({Exchange::direct, size});
  const Hierarchy hierarchy(topology.order, levels);
  std::vector<LevelChoice> all;
  for (int l = 0; l < hierarchy.levels(); ++l) {
    const int size = sizes[static_cast<std::size_t>(l)];
    all.push_back({size, topology.spans_nodes(hierarchy, l), {Exchange::direct}});
    std::vector<Exchange>& exchanges = all.back().exchanges;
    if (size > 2) exchanges.push_back(Exchange::ring);
    if (messages_only) continue;
    const auto at = static_cast<std::size_t>(l);
    if (topology.why_no_gpus.empty() && comes_together(topology.order, sizes, at, Exchange::nccl))
      exchanges.push_back(Exchange::nccl);
    if (!all.back().between_nodes) {
      exchanges.push_back(Exchange::shared);
    } else if (l > 0 && l + 1 == hierarchy.levels() &&
               comes_together(topology.order, sizes, at, Exchange::library)) {
      exchanges.push_back(Exchange::library);
    }
  }
  return all;
}

using Hierarchies = std::vector<std::vector<HierarchyLevel>>;

/// Every combination of what levels may be.
void add_all(const std::vector<LevelChoice>& choices, std::vector<HierarchyLevel>& levels,
             Hierarchies& all) {
  const std::size_t l = levels.size();
  if (l == choices.size()) {
    all.push_back(levels);
    return;
  }
  for (const Exchange exchange : choices[l].exchanges) {
    levels.push_back({exchange, choices[l].size});
    add_all(choices, levels, all);
    levels.pop_back();
  }
}

/// Those with one exchange within nodes and one between them, where they may stand; direct where
/// they may not.
void add_plain(const std::vector<LevelChoice>& choices, Hierarchies& all) {
  const std::size_t first = all.size();
  for (const Exchange within : kExchanges) {
    for (const Exchange between : kExchanges) {
      std::vector<HierarchyLevel> levels;
      for (const LevelChoice& c : choices) {
        const Exchange wanted = c.between_nodes ? between : within;
        levels.push_back({c.allows(wanted) ? wanted : Exchange::direct, c.size});
      }
      const auto begin = all.begin() + static_cast<std::ptrdiff_t>(first);
      if (std::find(begin, all.end(), levels) == all.end()) all.push_back(std::move(levels));
    }
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
    if (exchange == Exchange::nccl && !topology.why_no_gpus.empty()) {
      refuse(l, " needs a GPU of its own on every rank: " + topology.why_no_gpus,
             "NCCL comes with -DISARIBI_CUDA=ON, see README; ring, direct and shared need no GPU");
    }
    if (is_black_box(exchange) && wire && l >= first_wire_level(topology, hierarchy)) {
      const std::string whose = exchange == Exchange::nccl ? "NCCL" : "the library";
      refuse(l, " is of " + whose + ", which cannot send " + std::string(core::name_of(*wire)),
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
  std::vector<std::vector<LevelChoice>> choices;
  std::size_t combinations = 0;
  for (const std::vector<int>& list : sizes) {
    std::vector<LevelChoice> levels = choices_of(topology, list, messages_only);
    if (levels.empty()) continue;
    std::size_t of_this = 1;
    for (const LevelChoice& level : levels) of_this *= level.exchanges.size();
    combinations += of_this;
    choices.push_back(std::move(levels));
  }
  Hierarchies all;
  for (const std::vector<LevelChoice>& levels : choices) {
    std::vector<HierarchyLevel> none;
    combinations <= kMostHierarchies ? add_all(levels, none, all) : add_plain(levels, all);
  }
  if (all.size() <= kMostHierarchies) return all;
  std::stable_sort(all.begin(), all.end(),
                   [](const auto& a, const auto& b) { return a.size() < b.size(); });
  all.resize(kMostHierarchies);
  return all;
}

}  // namespace isaribi::comm
