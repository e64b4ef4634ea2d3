// SPDX-License-Identifier: MIT
// A machine as a TOML file tells of it: which hosts share a rack, how fast links are, and how many
// ranks and nodes there are to a node and a rack (for isaribi plan on a machine one does not have).
#pragma once

#include <map>
#include <string>

#include "comm/allreduce/cost_model.hpp"

namespace isaribi::app {

struct MachineFile {
  /// One way, all ranks together where they share it; 0: not told.
  struct Link {
    double bytes_per_s = 0;
    double latency_s = 0;
  };
  std::map<std::string, std::string> rack_of_host;                   ///< [[rack]] name, hosts
  int ranks_per_socket = 0, ranks_per_node = 0, nodes_per_rack = 0;  ///< [machine]; 0: not told
  Link inside;  ///< [link.inside]: one rank to another of its socket, or of its node
  Link socket;  ///< [link.socket]: in and out of a socket
  Link node;    ///< [link.node]: in and out of a node
  Link rack;    ///< [link.rack]: in and out of a rack

  /// The cost model of a topology whose kinds are socket, node and rack, or fewer.
  comm::MachineModel model(const comm::Topology& topology) const;
};

/// In place of a machine file: racks are to be measured.
inline constexpr const char* kMeasure = "measure";

/// An empty one for an empty path. @throws core::DataError, core::UsageError with file and line.
MachineFile read_machine_file(const std::string& path);

/// One that says which hosts share a rack, and nothing else; replaced in one step. @throws
/// core::DataError
void write_racks(const std::map<std::string, std::string>& rack_of_host, const std::string& path);

/// A machine file as `--help` shows it.
extern const char* const kMachineFileExample;

}  // namespace isaribi::app
