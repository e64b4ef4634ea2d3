// SPDX-License-Identifier: MIT
#include "comm/allreduce/topology.hpp"

#include <algorithm>
#include <cstdlib>
#include <numeric>
#include <set>
#include <sstream>
#include <tuple>

namespace isaribi::comm {
namespace {

/// Numbers names by first appearance among ranks.
class Numbering {
 public:
  int of(const std::string& name) {
    return numbers_.emplace(name, static_cast<int>(numbers_.size())).first->second;
  }
  int size() const { return static_cast<int>(numbers_.size()); }

 private:
  std::map<std::string, int> numbers_;
};

/// Renumbers along the order, so that equal neighbours stay together.
std::vector<int> along(const std::vector<int>& order, const std::vector<int>& number) {
  std::vector<int> result;
  int last = -1, count = -1;
  for (const int r : order) {
    const int n = number[static_cast<std::size_t>(r)];
    if (n != last) ++count;
    last = n;
    result.push_back(count);
  }
  return result;
}

/// Most members one domain has; `below` numbers them, or is empty for single ranks.
int most_in(const std::vector<int>& domain, const std::vector<int>& below) {
  std::map<int, std::set<int>> members;
  for (std::size_t i = 0; i < domain.size(); ++i) {
    members[domain[i]].insert(below.empty() ? static_cast<int>(i) : below[i]);
  }
  std::size_t most = 0;
  for (const auto& [d, m] : members) most = std::max(most, m.size());
  return static_cast<int>(most);
}

/// One kind of domain: its number for each rank.
struct Kind {
  std::string name;
  std::vector<int> domain_of;
  int domains = 0;
};

/// Whether every domain of `inner` lies in one of `outer`.
bool nests(const Kind& inner, const Kind& outer) {
  std::map<int, int> home;
  for (std::size_t r = 0; r < inner.domain_of.size(); ++r) {
    if (home.emplace(inner.domain_of[r], outer.domain_of[r]).first->second != outer.domain_of[r])
      return false;
  }
  return true;
}

/// All parts of nodes that kinds may be made of.
constexpr std::size_t kParts = kNodeParts.size() + 1;
std::string name_of_part(std::size_t k) {
  return k < kNodeParts.size() ? kNodeParts[k] : "group of linked GPUs";
}
int part_of(const Place& place, std::size_t k) {
  return k < kNodeParts.size() ? place.parts[k] : place.gpu.group;
}

/// Those parts of nodes that every rank knows and that tell more than nodes do, each one nested in
/// the next: the finest first.
std::vector<Kind> kinds_in_nodes(const std::vector<Place>& places, int hosts) {
  std::vector<Kind> kinds, nested;
  for (std::size_t k = 0; k < kParts; ++k) {
    Kind kind{name_of_part(k), {}, 0};
    Numbering numbers;
    for (const Place& p : places) {
      if (part_of(p, k) < 0) break;
      kind.domain_of.push_back(numbers.of(p.host + " " + std::to_string(part_of(p, k))));
    }
    kind.domains = numbers.size();
    if (kind.domain_of.size() == places.size() && kind.domains > hosts) kinds.push_back(kind);
  }
  std::stable_sort(kinds.begin(), kinds.end(),
                   [](const Kind& a, const Kind& b) { return a.domains > b.domains; });
  for (Kind& kind : kinds) {
    if (!nested.empty() && !nests(nested.back(), kind)) continue;
    if (!nested.empty() && nested.back().domains == kind.domains) nested.pop_back();
    nested.push_back(std::move(kind));
  }
  return nested;
}

/// Why not every rank has a GPU of its own; empty: every one has.
std::string why_no_gpus(const std::vector<Place>& places) {
  std::map<std::string, std::size_t> owner;
  for (std::size_t r = 0; r < places.size(); ++r) {
    const Place& p = places[r];
    const std::string who = "rank " + std::to_string(r) + " on " + p.host;
    if (p.gpu.name.empty()) return who + ": " + p.gpu.why_none;
    const auto [first, alone] = owner.emplace(p.host + " " + p.gpu.name, r);
    if (!alone) return who + " would use the GPU of rank " + std::to_string(first->second);
  }
  return "";
}

/// "s0.s4" of SLURM_TOPOLOGY_ADDR=s0.s4.node7: the switches above this node.
std::string switch_of_this_node() {
  const char* address = std::getenv("SLURM_TOPOLOGY_ADDR");
  if (address == nullptr) return "";
  const std::string text = address;
  const std::size_t dot = text.rfind('.');
  return dot == std::string::npos ? "" : text.substr(0, dot);
}

}  // namespace

std::vector<int> Topology::shape() const {
  std::vector<int> sizes, below;
  for (const std::vector<int>& domain : order.domains) {
    sizes.push_back(most_in(domain, below));
    below = domain;
  }
  const std::vector<int> machine(order.ranks.size(), 0);
  sizes.push_back(most_in(machine, below));
  return sizes;
}

int Topology::largest_node() const {
  return most_in(node_of, {});
}

int Topology::kinds_within_node() const {
  if (nodes == 1) return static_cast<int>(kinds.size()) + 1;
  const auto node = std::find(kinds.begin(), kinds.end(), "node");
  return node == kinds.end() ? 0 : static_cast<int>(node - kinds.begin()) + 1;
}

bool Topology::spans_nodes(const Hierarchy& hierarchy, int l) const {
  const auto& groups = hierarchy.groups(l);
  return std::any_of(groups.begin(), groups.end(), [&](const Hierarchy::Group& g) {
    const auto first = static_cast<std::size_t>(g.first_position);
    return node_of[first] != node_of[first + static_cast<std::size_t>(g.positions) - 1];
  });
}

std::string Topology::description() const {
  std::ostringstream text;
  text << ranks() << (ranks() == 1 ? " rank" : " ranks") << " on " << nodes
       << (nodes == 1 ? " node" : " nodes");
  if (racks > 1) text << " in " << racks << " racks";
  const std::vector<int> sizes = shape();
  std::string below = "ranks";
  for (std::size_t d = 0; d < kinds.size(); ++d) {
    text << (d == 0 ? ": up to " : ", ") << sizes[d] << " " << below << " "
         << with_article(kinds[d]);
    below = kinds[d].starts_with("group") ? "groups" : kinds[d] + "s";
  }
  if (why_no_gpus.empty()) text << (kinds.empty() ? ": " : ", ") << "each rank with a GPU";
  return text.str();
}

Topology arrange(const std::vector<Place>& places) {
  const bool racks_known =
      std::none_of(places.begin(), places.end(), [](const Place& p) { return p.rack.empty(); });
  Numbering racks, hosts;
  Kind rack{"rack", {}, 0}, host{"node", {}, 0};
  for (const Place& p : places) {
    rack.domain_of.push_back(racks_known ? racks.of(p.rack) : 0);
    host.domain_of.push_back(hosts.of(p.host));
  }
  Topology topology;
  topology.nodes = hosts.size();
  topology.racks = std::max(racks.size(), 1);
  std::vector<Kind> kinds = kinds_in_nodes(places, hosts.size());
  kinds.push_back(host);
  kinds.push_back(rack);
  std::vector<int>& order = topology.order.ranks;
  order.resize(places.size());
  std::iota(order.begin(), order.end(), 0);
  for (const Kind& kind : kinds) {  // from the finest: the coarsest decides last
    std::stable_sort(order.begin(), order.end(), [&](int a, int b) {
      return kind.domain_of[static_cast<std::size_t>(a)] <
             kind.domain_of[static_cast<std::size_t>(b)];
    });
  }
  topology.node_of = along(order, host.domain_of);
  topology.why_no_gpus = why_no_gpus(places);
  std::vector<int> below;
  for (const Kind& kind : kinds) {
    const std::vector<int> domain = along(order, kind.domain_of);
    if (domain.back() == 0 || most_in(domain, below) < 2) continue;
    topology.order.domains.push_back(domain);
    topology.kinds.push_back(kind.name);
    below = domain;
  }
  return topology;
}

std::string with_article(const std::string& kind) {
  return (kind.front() == 'L' ? "an " : "a ") + kind;
}

Topology regular_topology(int ranks, int ranks_per_node, int nodes_per_rack, int ranks_per_socket) {
  std::vector<Place> places;
  for (int r = 0; r < ranks; ++r) {
    const int node = r / ranks_per_node;
    places.push_back({std::to_string(node / nodes_per_rack), std::to_string(node)});
    if (ranks_per_socket > 0) places.back().parts.back() = r % ranks_per_node / ranks_per_socket;
  }
  return arrange(places);
}

Topology discover_topology(Communicator& comm,
                           const std::map<std::string, std::string>& rack_of_host) {
  const std::string host = comm.host();
  const auto listed = rack_of_host.find(host);
  const std::string rack = listed != rack_of_host.end() ? listed->second : switch_of_this_node();
  std::ostringstream mine;
  mine << rack << '\n' << host;  // a line each: no name has several
  const Gpu gpu = gpu_of_this_rank(comm);
  mine << '\n' << gpu.name << '\n' << gpu.why_none << '\n' << gpu.group;
  for (const int part : parts_of_this_process()) mine << '\n' << part;
  std::vector<Place> places;
  for (const std::string& text : comm.all_gather_strings(mine.str())) {
    std::istringstream lines(text);
    Place place;
    std::getline(lines, place.rack);
    std::getline(lines, place.host);
    std::getline(lines, place.gpu.name);
    std::getline(lines, place.gpu.why_none);
    lines >> place.gpu.group;
    for (int& part : place.parts) lines >> part;
    places.push_back(std::move(place));
  }
  return arrange(places);
}

}  // namespace isaribi::comm
