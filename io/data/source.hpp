// SPDX-License-Identifier: MIT
// Where stored samples come from: memory that the ranks of a node share, or the file itself. The
// order of samples does not depend on which.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "comm/communicator.hpp"
#include "core/log.hpp"
#include "io/data/dataset.hpp"

namespace isaribi::data {

class SampleSource {
 public:
  virtual ~SampleSource() = default;
  /// Makes these samples ready; they replace the ones before. Called by the reader thread: no MPI.
  /// @throws DataError.
  virtual void load(std::span<const std::int64_t> ids) = 0;
  /// Stored image number `k` of load(), sample_bytes() bytes.
  virtual const std::byte* image(std::size_t k) const = 0;
  /// All labels by sample id; null when the set has none.
  virtual const std::int32_t* labels() const = 0;
};

/// The whole set in memory, once per node where the ranks of a node can share memory: each of them
/// reads a part of the file. Collective; also its destruction.
std::unique_ptr<SampleSource> preload(const DatasetFile& dataset, comm::Communicator& comm,
                                      core::Log& log);

/// The set read from its file as it is needed; only the labels are held. Collective.
std::unique_ptr<SampleSource> stream(DatasetFile dataset, comm::Communicator& comm);

}  // namespace isaribi::data
