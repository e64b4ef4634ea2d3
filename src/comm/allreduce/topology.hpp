// SPDX-License-Identifier: MIT
// Where the ranks of a job sit: NUMA domain, node, rack. Ranks in machine order, so that neighbours
// are close whatever order the launcher dealt them in.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "comm/allreduce/hierarchy.hpp"
#include "comm/communicator.hpp"

namespace isaribi::comm {

/// Where one rank sits; ranks with equal host are on one node.
struct Place {
  std::string rack;  ///< or switch; empty: not known
  std::string host;
  int numa = -1;  ///< NUMA domain that its cores belong to; -1: several, or not known
};

struct Topology {
  RankOrder order;
  /// Names of order.domains, innermost first: of "numa", "node", "rack" those that tell anything:
  /// there is more than one, and one of them has more than one member.
  std::vector<std::string> kinds;
  int nodes = 1, racks = 1;
  std::vector<int> node_of;  ///< by position in order

  int ranks() const { return static_cast<int>(order.ranks.size()); }
  /// Members of the largest domain of each kind, in members of the one below, and of the machine:
  /// {4, 34, 32} for 32 racks of 34 nodes of 4 ranks.
  std::vector<int> shape() const;
  int largest_node() const;  ///< its ranks
  /// Whether a group of level l has ranks on several nodes.
  bool spans_nodes(const Hierarchy& hierarchy, int l) const;
  /// "8 ranks on 4 nodes in 2 racks: 2 ranks a node, 2 nodes a rack"
  std::string description() const;
};

/// By rank. Racks count only when every place names one.
Topology arrange(const std::vector<Place>& places);
/// `ranks_per_node` and `nodes_per_rack` all alike, as far as `ranks` go.
Topology regular_topology(int ranks, int ranks_per_node, int nodes_per_rack);
/// Collective. Hosts by name; NUMA domains by hwloc, from the cores that each rank is bound to;
/// racks from `rack_of_host`, else from Slurm's SLURM_TOPOLOGY_ADDR (plugin topology/tree).
Topology discover_topology(Communicator& comm,
                           const std::map<std::string, std::string>& rack_of_host = {});

}  // namespace isaribi::comm
