// SPDX-License-Identifier: MIT
// A bounded ring of batches between one producer (the reader thread) and one consumer (the training
// loop): prepared ahead, handed over in order, errors included.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <exception>
#include <mutex>
#include <vector>

#include "io/data/loader.hpp"

namespace isaribi::data {

/// A batch and the memory behind it, for the largest slice of this rank.
struct Slot {
  Batch batch;
  core::Tensor images, labels, ids;
};

class Ring {
 public:
  /// One slot is held by the consumer, the others are filled ahead. @param slots >= 2.
  explicit Ring(std::vector<Slot> slots) : slots_(std::move(slots)) {}

  /// Producer: the next slot to fill; waits for one. nullptr once closed.
  Slot* acquire();
  /// Producer: the acquired slot is full.
  void publish();
  /// Producer: nothing follows; with `error`, take() throws it after the batches before it.
  void finish(std::exception_ptr error = nullptr);

  /// Consumer: gives back the slot taken before and waits for the next. nullptr after the last one.
  Slot* take();
  /// Consumer: wakes the producer and lets it end.
  void close();
  /// Consumer: seconds spent in take() so far.
  double waited_seconds() const { return waited_; }

 private:
  Slot& slot(std::size_t number) { return slots_[number % slots_.size()]; }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Slot> slots_;
  // Running numbers: released_ <= taken_ <= filled_ <= released_ + slots.
  std::size_t filled_ = 0, taken_ = 0, released_ = 0;
  bool finished_ = false, closed_ = false;
  std::exception_ptr error_;
  double waited_ = 0;
};

}  // namespace isaribi::data
