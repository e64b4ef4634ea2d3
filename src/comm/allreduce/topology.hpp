// SPDX-License-Identifier: MIT
// Where the ranks of a job sit: caches, NUMA domain, socket, node, rack. Ranks in machine order, so
// that neighbours are close whatever order the launcher dealt them in.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "comm/allreduce/hierarchy.hpp"
#include "comm/allreduce/node_parts.hpp"
#include "comm/communicator.hpp"
#include "comm/gpus.hpp"

namespace isaribi::comm {

/// Where one rank sits; ranks with equal host are on one node.
struct Place {
  std::string rack;  ///< or switch; empty: not known
  std::string host;
  NodeParts parts = kNoParts;  ///< of the node, that its cores belong to
  Gpu gpu = {};                ///< that NCCL would use
};

struct Topology {
  RankOrder order;
  /// Names of order.domains, innermost first: of kNodeParts, "group of linked GPUs", "node" and
  /// "rack" those that tell
  /// anything: there is more than one, and one of them has more than one member.
  std::vector<std::string> kinds;
  int nodes = 1, racks = 1;
  /// Why NCCL cannot serve: empty when every rank has a GPU of its own.
  std::string why_no_gpus = "nothing is known of GPUs";
  std::vector<int> node_of;  ///< by position in order

  int ranks() const { return static_cast<int>(order.ranks.size()); }
  /// Members of the largest domain of each kind, in members of the one below, and of the machine:
  /// {4, 34, 32} for 32 racks of 34 nodes of 4 ranks.
  std::vector<int> shape() const;
  int largest_node() const;  ///< its ranks
  /// How many kinds of domain lie within a node, itself among them, so that messages that leave
  /// them all use the network; with one node, one more than there are.
  int kinds_within_node() const;
  /// Whether a group of level l has ranks on several nodes.
  bool spans_nodes(const Hierarchy& hierarchy, int l) const;
  /// "8 ranks on 4 nodes in 2 racks: up to 2 ranks a node, 2 nodes a rack"
  std::string description() const;
};

/// By rank. Racks, and each part of a node, count only when every place knows its own. Of two parts
/// that hold the same ranks the one that is larger as a rule gives the name; one that does not nest
/// with smaller ones is left out.
Topology arrange(const std::vector<Place>& places);
/// `ranks_per_node`, `nodes_per_rack` and, unless 0, `ranks_per_socket` all alike, as far as
/// `ranks` go.
Topology regular_topology(int ranks, int ranks_per_node, int nodes_per_rack,
                          int ranks_per_socket = 0);
/// "an L3 cache", "a node"
std::string with_article(const std::string& kind);
/// Collective. Hosts by name; parts of nodes by hwloc, from the cores that each rank is bound to;
/// GPUs and their links by Communicator::gpus(); racks from `rack_of_host`, else from Slurm's
/// SLURM_TOPOLOGY_ADDR (plugin topology/tree).
Topology discover_topology(Communicator& comm,
                           const std::map<std::string, std::string>& rack_of_host = {});

}  // namespace isaribi::comm
