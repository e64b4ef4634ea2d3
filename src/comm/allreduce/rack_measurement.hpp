// SPDX-License-Identifier: MIT
// Racks by measurement, where neither Slurm nor a file tells them: nodes talk in pairs, all at
// once, everyone with everyone in turn; pairs across a shared uplink are slower than pairs inside.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "comm/communicator.hpp"

namespace isaribi::comm {

struct RackMeasurement {
  std::vector<std::string> hosts;  ///< by first appearance among ranks
  std::vector<int> rack;           ///< of each host, numbered by first appearance; all 0: no racks
  /// Bytes per second that one node of a pair sent under load: medians over pairs of one rack, and
  /// of two (0: no such pairs).
  double inside = 0, across = 0;
  double seconds = 0;  ///< that it took

  int racks() const;
  /// "r0", "r1", ...; of every host.
  std::map<std::string, std::string> rack_of_host() const;
  /// "2 racks: n0 n1 | n2 n3; pairs inside at 11.9 MB/s, across at 5.1 MB/s"
  std::string description() const;
};

/// Collective; the same on every rank, decided on rank 0. Fewer than four nodes are one rack.
RackMeasurement measure_racks(Communicator& comm);

}  // namespace isaribi::comm
