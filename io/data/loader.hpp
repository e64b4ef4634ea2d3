// SPDX-License-Identifier: MIT
// From a data set in HDF5 to the batches of one rank. The order of samples is a counter-based
// permutation of (seed, epoch): every rank takes its slice of each *global* batch, so 1, 2 and 4
// ranks see the same batches. One reader thread per rank owns the reads, prepares batches ahead
// (gather, augment, normalise) and hands them over in order.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "comm/communicator.hpp"
#include "core/log.hpp"
#include "core/tensor.hpp"
#include "io/data/settings.hpp"

namespace isaribi::data {

/// What a data set file says about itself.
struct DatasetInfo {
  std::string path;
  std::int64_t samples = 0;
  core::Shape sample;                  ///< [H, W, C]
  core::DType type = core::DType::u8;  ///< of the stored images: u8 or f32
  std::int64_t classes = 0;            ///< 0 when there are no labels
  std::vector<std::string> class_names;
  std::vector<double> mean, std;  ///< per channel, of values / 255 (f32 images: of the values)
  std::string digest;             ///< SHA-256 of images and labels, written by the converter
};

/// Reads and checks the header only. Local: under several ranks call it in comm::run_together.
/// @throws DataError (missing, not HDF5, not ours, newer schema, damaged).
DatasetInfo read_info(const std::string& path);

/// The slice of one global batch that belongs to one rank, in host memory.
struct Batch {
  std::int64_t epoch = 0, index = 0;  ///< index of the global batch in its epoch
  std::int64_t global_size =
      0;                ///< samples of all ranks; the last batch of an epoch may be smaller
  core::Tensor images;  ///< [n, H, W, C] f32, normalised
  core::Tensor labels;  ///< [n] i32; undefined when the set has none
  core::Tensor ids;     ///< [n] i32 global sample ids
};

/// Where in the data a run is: the only loader state a checkpoint holds.
struct Cursor {
  std::int64_t epoch = 0, batch = 0;  ///< next global batch to deliver
};

class Loader {
 public:
  /// @param training shuffles and augments as the settings say, and repeats over epochs; otherwise
  /// one pass in order.
  /// @param stats mean and std used for normalisation (those of the training set, for every set).
  /// Collective over `comm`, which must outlive the loader; so is the destructor.
  /// @throws comm::CollectiveError with the exit code of the cause (usage or data), on all ranks.
  Loader(const DataSettings& settings, const std::string& path, const DatasetInfo& stats,
         bool training, std::uint64_t seed, comm::Communicator& comm, core::Log& log);
  ~Loader();

  const DatasetInfo& info() const;
  /// Global batches per epoch.
  std::int64_t batches_per_epoch() const;
  /// Starts (or restarts) delivery at `cursor`.
  void seek(const Cursor& cursor);
  /// The next batch; valid until the following next() or seek(). When not training, nullptr after
  /// the last batch.
  /// @throws DataError raised by the reader thread (NaN in float data, label out of range, file
  /// vanished).
  const Batch* next();
  /// Seconds next() has waited for the reader so far.
  double waited_seconds() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// SHA-256 over the sample ids (64-bit) of every global batch of one training epoch, in order: the
/// same for any number of ranks. @param streamed the set is larger than preload_mb.
std::string order_digest(const DataSettings& settings, std::int64_t samples, std::uint64_t seed,
                         std::int64_t epoch, bool streamed = false);

}  // namespace isaribi::data
