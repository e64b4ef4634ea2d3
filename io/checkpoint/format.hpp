// SPDX-License-Identifier: MIT
// The schema of a checkpoint file (README.md) as two functions: one collective write, one local
// read that verifies.
#pragma once

#include <string>

#include "comm/communicator.hpp"
#include "io/checkpoint/state.hpp"

namespace isaribi::checkpoint {

/// Checksum of one tensor: XXH3-64 over name, type, shape and the bytes in memory, as 16 hex
/// digits.
std::string checksum(const core::NamedTensor& tensor);
/// Checksum over all of a state, in its order.
std::string checksum(const State& state);

/// Writes `state` to `path` with all ranks of `comm`: each rank writes its contiguous range of
/// every tensor. Collective.
/// @throws comm::CollectiveError on all ranks when any of them fails; the file is then useless.
void write_file(const std::string& path, const State& state, comm::Communicator& comm);

/// Reads and verifies a file. Local. @throws DataError: missing, not ours, newer schema, truncated,
/// checksum.
State read_file(const std::string& path);

/// Compares tensors number first, first + stride, ... of `path` with the checksums of `state`.
/// Local. @throws DataError.
void verify_file(const std::string& path, const State& state, std::size_t first,
                 std::size_t stride);

}  // namespace isaribi::checkpoint
