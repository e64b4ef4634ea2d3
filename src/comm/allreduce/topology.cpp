// SPDX-License-Identifier: MIT
#include "comm/allreduce/topology.hpp"

#include <hwloc.h>

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

int numa_of_this_rank() {
  hwloc_topology_t machine = nullptr;
  if (hwloc_topology_init(&machine) != 0) return -1;
  int numa = -1;
  hwloc_cpuset_t mine = hwloc_bitmap_alloc();
  hwloc_nodeset_t nodes = hwloc_bitmap_alloc();
  if (mine != nullptr && nodes != nullptr && hwloc_topology_load(machine) == 0 &&
      hwloc_get_cpubind(machine, mine, HWLOC_CPUBIND_PROCESS) == 0) {
    hwloc_cpuset_to_nodeset(machine, mine, nodes);
    if (hwloc_bitmap_weight(nodes) == 1) numa = hwloc_bitmap_first(nodes);
  }
  hwloc_bitmap_free(nodes);
  hwloc_bitmap_free(mine);
  hwloc_topology_destroy(machine);
  return numa;
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
    text << (d == 0 ? ": up to " : ", ") << sizes[d] << " " << below << " a "
         << (kinds[d] == "numa" ? "NUMA domain" : kinds[d]);
    below = kinds[d] == "numa" ? "NUMA domains" : kinds[d] + "s";
  }
  return text.str();
}

Topology arrange(const std::vector<Place>& places) {
  const auto count = places.size();
  const bool racks_known =
      std::none_of(places.begin(), places.end(), [](const Place& p) { return p.rack.empty(); });
  const bool numa_known =
      std::none_of(places.begin(), places.end(), [](const Place& p) { return p.numa < 0; });
  Numbering racks, hosts, numas;
  std::vector<int> rack(count), host(count), numa(count);
  for (std::size_t r = 0; r < count; ++r) {
    const Place& p = places[r];
    rack[r] = racks_known ? racks.of(p.rack) : 0;
    host[r] = hosts.of(p.host);
    numa[r] = numas.of(p.host + " " + std::to_string(numa_known ? p.numa : 0));
  }
  Topology topology;
  topology.nodes = hosts.size();
  topology.racks = std::max(racks.size(), 1);
  std::vector<int>& order = topology.order.ranks;
  order.resize(count);
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](int a, int b) {
    const auto key = [&](int r) {
      const auto i = static_cast<std::size_t>(r);
      return std::tuple(rack[i], host[i], places[i].numa, r);
    };
    return key(a) < key(b);
  });
  topology.node_of = along(order, host);
  std::vector<int> below;
  const std::pair<const char*, const std::vector<int>*> kinds[] = {
      {"numa", &numa}, {"node", &host}, {"rack", &rack}};
  for (const auto& [kind, number] : kinds) {
    const bool known = number != &numa || numas.size() > hosts.size();
    const std::vector<int> domain = along(order, *number);
    if (!known || domain.back() == 0 || most_in(domain, below) < 2) continue;
    topology.order.domains.push_back(domain);
    topology.kinds.emplace_back(kind);
    below = domain;
  }
  return topology;
}

Topology regular_topology(int ranks, int ranks_per_node, int nodes_per_rack) {
  std::vector<Place> places;
  for (int r = 0; r < ranks; ++r) {
    const int node = r / ranks_per_node;
    places.push_back({std::to_string(node / nodes_per_rack), std::to_string(node), -1});
  }
  return arrange(places);
}

Topology discover_topology(Communicator& comm,
                           const std::map<std::string, std::string>& rack_of_host) {
  const std::string host = comm.host();
  const auto listed = rack_of_host.find(host);
  const std::string rack = listed != rack_of_host.end() ? listed->second : switch_of_this_node();
  const char separator = '\n';  // in no host name
  const std::vector<std::string> all = comm.all_gather_strings(rack + separator + host + separator +
                                                               std::to_string(numa_of_this_rank()));
  std::vector<Place> places;
  for (const std::string& text : all) {
    const std::size_t first = text.find(separator), second = text.rfind(separator);
    places.push_back({text.substr(0, first), text.substr(first + 1, second - first - 1),
                      std::atoi(text.c_str() + second + 1)});
  }
  return arrange(places);
}

}  // namespace isaribi::comm
