// SPDX-License-Identifier: MIT
// Checkpoints that survive a kill at any instant (DESIGN: "The checkpoint promise"). One HDF5 file
// per checkpoint; all ranks write to a temporary name, read back, compare with checksums taken from
// memory, fsync, rename, then move the `latest` pointer; the last `keep` are kept and the last
// verified one is never deleted.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "comm/communicator.hpp"
#include "core/log.hpp"
#include "io/checkpoint/state.hpp"

namespace isaribi::checkpoint {

inline constexpr int kSchemaVersion = 1;

/// [checkpoint] of the deck.
struct CheckpointSettings {
  std::int64_t every = 0;  ///< steps between checkpoints; 0: at the end of every epoch
  int keep = 3;
  std::string restart = "auto";  ///< auto: continue when the run folder holds a checkpoint; never:
                                 ///< refuse to; or a path
};

/// Writes `state` as checkpoint of `step` in `folder` and rotates. Collective. Returns the final
/// path.
/// @throws DataError on every rank alike (disk full, read-only, verification failed), leaving
/// earlier checkpoints as they were.
std::string save(const std::string& folder, std::int64_t step, const State& state, int keep,
                 comm::Communicator& comm);

/// A state and the file it came from.
struct Loaded {
  State state;
  std::string path;
};

/// The newest checkpoint of `folder` that verifies; says on `log` why it passes over a broken one.
/// Moves `latest` to it, which a kill after the file got its name has left behind. Collective.
/// Empty when the folder holds none. @throws DataError when there are some but all are refused.
std::optional<Loaded> load_latest(const std::string& folder, comm::Communicator& comm,
                                  core::Log& log);

/// One named file, verified. Collective. @throws DataError: missing, truncated, checksum, newer
/// schema, not ours.
State load(const std::string& path, comm::Communicator& comm);

/// Copies tensors of `state` into `targets` by name. @throws DataError naming the first missing,
/// surplus or misshapen one.
void restore(const State& state, const std::string& prefix,
             const std::vector<core::NamedTensor>& targets, const std::string& file);

/// SHA-256 over names, shapes, types and values of the weights, or of the whole state with `all`;
/// notes never count.
std::string digest(const State& state, bool all);

/// What differs between two states: one line per difference, empty when equal.
std::vector<std::string> differences(const State& a, const State& b);

}  // namespace isaribi::checkpoint
