// SPDX-License-Identifier: MIT
// Which sample stands where in an epoch: a pure function of (seed, epoch, position), never a stored
// list, so that every rank can ask about any position and none has to agree with the others.
#pragma once

#include <cstdint>
#include <utility>

#include "core/rng.hpp"
#include "io/data/settings.hpp"

namespace isaribi::data {

/// A pseudo-random permutation of 0 ... size-1: a Feistel network over Philox (a bijection of the
/// next power of two; four rounds suffice for large domains, Luby and Rackoff 1988, six are used
/// because ours may be tiny) walked along its cycles until it lands inside (Black and Rogaway,
/// "Ciphers with arbitrary finite domains", CT-RSA 2002). Less than two walks on average.
class Permutation {
 public:
  /// @param stream tells permutations of the same seed and epoch apart.
  Permutation(std::int64_t size, std::uint64_t seed, std::int64_t epoch, std::uint64_t stream);
  std::int64_t operator()(std::int64_t position) const;
  std::int64_t size() const { return size_; }

 private:
  std::int64_t size_;
  int left_bits_ = 0, right_bits_ = 0;
  core::Words4 key_{};
};

/// How the epochs of a set are cut and shuffled; equal on all ranks.
struct OrderSpec {
  std::int64_t samples = 0;
  std::int64_t batch = 1;  ///< global
  bool shuffle = false;
  bool drop_last = false;
  std::int64_t chunk = 0;  ///< samples per chunk of a streamed set; 0: shuffled as a whole
  std::uint64_t seed = 0;

  std::int64_t batches_per_epoch() const;
  /// Samples of global batch `index`; the last may be smaller.
  std::int64_t batch_size(std::int64_t index) const;
  /// The order of a training set held in memory (chunk = 0) or streamed.
  static OrderSpec training(const DataSettings& settings, std::int64_t samples, std::uint64_t seed,
                            bool streamed);
};

/// Chunks that are in memory at a time when streaming: samples are shuffled within this many.
inline constexpr std::int64_t kWindowChunks = 8;

/// The order of one epoch. Held in memory: one permutation of the set. Streamed: the chunks are
/// permuted, and the samples of each window of kWindowChunks permuted chunks among themselves, so
/// that reading goes along the file in long pieces.
class EpochOrder {
 public:
  EpochOrder(const OrderSpec& spec, std::int64_t epoch);
  /// Global sample id at `position` of the epoch.
  std::int64_t id(std::int64_t position) const;
  /// First position of the window that `position` is in, and the one past its last.
  std::pair<std::int64_t, std::int64_t> window(std::int64_t position) const;

 private:
  std::int64_t chunk_begin(std::int64_t slot) const;

  OrderSpec spec_;
  std::int64_t epoch_;
  Permutation whole_, chunks_;
  std::int64_t chunk_count_ = 0, short_slot_ = 0, short_by_ = 0;
};

}  // namespace isaribi::data
