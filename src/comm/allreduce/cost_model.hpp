// SPDX-License-Identifier: MIT
// Predicted time of an allreduce along a hierarchy, and the least that any algorithm can take. Per
// stage: rounds times a latency, plus bytes through the tightest place, a rank's own port or the
// door of a domain that its ranks share (a node's network card, a rack's uplinks). Segments overlap
// across levels: the first pays all stages, as if alone, each further one only what the busiest
// place needs: the cores of a node, its network card, or the uplinks of its rack. Messages that the
// library sends at once, into memory it keeps for them (eager), wait for nobody; larger ones wait
// for their receiver (rendezvous), which leaves gaps.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "comm/allreduce/hierarchy.hpp"
#include "comm/allreduce/topology.hpp"

namespace isaribi::comm {

/// What an exchange costs in one place.
struct LinkCost {
  /// Seconds per round of a ring, or per message of a direct exchange, that bytes do not explain.
  double latency = 0;
  /// Seconds per byte, in large messages, of a segment that has the stage to itself: rounds wait
  /// for each other, and the last of several concurrent messages is late.
  double alone = 0;
  /// The same while other segments fill such gaps.
  double busy = 0;
  /// Seconds per byte in small messages.
  double eager = 0;
};

/// Of the messages that stay in one kind of domain but leave the next smaller one. Bytes are those
/// that one rank sends where there is no smaller one, else those that leave a smaller domain, all
/// its ranks together.
struct LinkModel {
  LinkCost ring = {}, direct = {}, shared = {}, library = {}, nccl = {};
  const LinkCost& of(Exchange e) const { return this->*member(e); }
  LinkCost& of(Exchange e) { return this->*member(e); }

 private:
  static constexpr LinkCost LinkModel::*member(Exchange e) {
    constexpr LinkCost LinkModel::*all[] = {&LinkModel::ring, &LinkModel::direct,
                                            &LinkModel::shared, &LinkModel::library,
                                            &LinkModel::nccl};
    return all[static_cast<std::size_t>(e)];
  }
};

/// links[c]: messages that stay in domain kind c (the last one: in the machine) and leave kind
/// c - 1; one more than Topology::kinds.
struct MachineModel {
  std::vector<LinkModel> links;
  double large_bytes = 0;  ///< a message of as many bytes is no longer small
};

/// What one level moves, one way, per byte of the buffer, in the group where it is most.
struct StageLoad {
  int link = 0;                        ///< index into MachineModel::links
  int rounds = 0;                      ///< of a ring; for a direct exchange, messages of one member
  Exchange exchange = Exchange::ring;  ///< of pairs by the library: direct, the same thing
  int network = 0;           ///< the first link between nodes; index into MachineModel::links
  double port = 0;           ///< sent by one rank
  std::vector<double> door;  ///< out of the fullest domain of each kind
  /// What one message carries. A black box may send all that a member holds at once.
  double message() const {
    if (rounds == 0) return 0;
    return is_black_box(exchange) ? port * (rounds + 1) / rounds : port / rounds;
  }
};
/// By level.
std::vector<StageLoad> stage_loads(const Topology& topology, const Hierarchy& hierarchy);

/// Seconds for a buffer of `bytes` in `segments` equal parts, `window` of them in one stage at
/// once.
double predict_seconds(const MachineModel& machine, const std::vector<StageLoad>& loads,
                       double bytes, std::int64_t segments, int window);

/// A measured sum.
struct Sample {
  std::vector<StageLoad> loads;
  double bytes = 0;
  std::int64_t segments = 1;
  int window = 2;
  double seconds = 0;
};
/// The model that explains the samples best (least squares of the logarithm of seconds), found from
/// `start`; what the samples say nothing about stays near it, and a parameter that is 0 there stays
/// 0.
MachineModel fit_model(const MachineModel& start, const std::vector<Sample>& samples);

/// Least bytes out of one node, and out of one rack, of any allreduce of `bytes`: 2 (k - 1) / k of
/// them for k nodes (racks). 0 where there is only one.
double node_cut_bytes(const Topology& topology, double bytes);
double rack_cut_bytes(const Topology& topology, double bytes);

}  // namespace isaribi::comm
