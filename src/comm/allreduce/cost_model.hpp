// SPDX-License-Identifier: MIT
// Predicted time of an allreduce along a hierarchy, and the least that any algorithm can take. Per
// stage: rounds times a latency, plus bytes through the tightest place, a rank's own port or the
// door of a domain that its ranks share (a node's network card, a rack's uplinks). Segments overlap
// across levels: the first pays all stages, each further one only what the busiest place needs.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "comm/allreduce/hierarchy.hpp"
#include "comm/allreduce/topology.hpp"

namespace isaribi::comm {

/// Of the messages that stay in one kind of domain but leave the next smaller one.
struct LinkModel {
  /// Seconds per round of a ring, and per member of a direct exchange, that bytes do not explain.
  double ring_latency = 0, direct_latency = 0;
  /// Seconds per byte that a rank sends (and at the same time receives).
  double ring_port = 0, direct_port = 0;
  /// Seconds per byte out of the smaller domain, all its ranks together; 0: no limit of its own.
  double ring_door = 0, direct_door = 0;

  double latency(Exchange e) const { return e == Exchange::ring ? ring_latency : direct_latency; }
  double port(Exchange e) const { return e == Exchange::ring ? ring_port : direct_port; }
  double door(Exchange e) const { return e == Exchange::ring ? ring_door : direct_door; }
};

/// links[c]: messages that stay in domain kind c (the last one: in the machine) and leave kind
/// c - 1; one more than Topology::kinds.
struct MachineModel {
  std::vector<LinkModel> links;
};

/// What an exchange of `bytes` per member moves on one level, in the group where it is most.
struct StageLoad {
  int link = 0;    ///< index into MachineModel::links
  int rounds = 0;  ///< ring: k - 1; direct: k - 1 messages in one
  Exchange exchange = Exchange::ring;
  double port_bytes = 0;           ///< of one rank
  std::vector<double> door_bytes;  ///< out of the fullest domain of each kind
};
/// Per level, one way, for a buffer of `bytes`.
std::vector<StageLoad> stage_loads(const Topology& topology, const Hierarchy& hierarchy,
                                   double bytes);

/// Seconds of one stage, and the part of them that bytes take.
struct StageTime {
  double all = 0, busy = 0;
};
StageTime stage_time(const MachineModel& machine, const StageLoad& load);

/// Seconds for a buffer of `bytes` in `segments` equal parts, `window` of them in one stage at
/// once.
double predict_seconds(const MachineModel& machine, const Topology& topology,
                       const Hierarchy& hierarchy, double bytes, std::int64_t segments, int window);

/// Least bytes out of one node, and out of one rack, of any allreduce of `bytes`: 2 (k - 1) / k of
/// them for k nodes (racks). 0 where there is only one.
double node_cut_bytes(const Topology& topology, double bytes);
double rack_cut_bytes(const Topology& topology, double bytes);

}  // namespace isaribi::comm
