// SPDX-License-Identifier: MIT
// The work of the reader thread: batch after batch from `cursor` on, the slice of this rank taken
// from the source, augmented, normalised and put into the ring.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "io/data/augment.hpp"
#include "io/data/ring.hpp"
#include "io/data/sampler.hpp"
#include "io/data/source.hpp"

namespace isaribi::data {

/// What a reader needs to know; the references outlive it.
struct ReaderPlan {
  OrderSpec order;
  AugmentSettings augment;
  bool repeat = false;            ///< epoch after epoch, as training does
  core::Shape sample;             ///< [H, W, C]
  std::int64_t sample_bytes = 0;  ///< as stored
  int rank = 0, ranks = 1;
};

class Reader {
 public:
  Reader(const ReaderPlan& plan, const Normalizer& normalizer, SampleSource& source)
      : plan_(plan), normalizer_(normalizer), source_(source) {}

  /// A slot with memory for the largest slice of this rank.
  static Slot make_slot(const ReaderPlan& plan, bool labels);
  /// Fills `ring` until it is closed or the set is over; errors go into the ring.
  void run(Cursor cursor, Ring& ring) noexcept;

 private:
  std::pair<std::int64_t, std::int64_t> positions(std::int64_t batch) const;
  void load_from(const EpochOrder& order, std::int64_t batch, std::int64_t position);
  void fill(const EpochOrder& order, const Cursor& cursor, Slot& slot);

  ReaderPlan plan_;
  const Normalizer& normalizer_;
  SampleSource& source_;
  std::vector<std::int64_t> ids_;  ///< of this rank, loaded in the source
  std::size_t next_ = 0;           ///< the next of them to use
};

}  // namespace isaribi::data
