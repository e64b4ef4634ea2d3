// SPDX-License-Identifier: MIT
#include "io/data/reader.hpp"

#include <algorithm>

#include "comm/rank_slice.hpp"

namespace isaribi::data {
namespace {

/// Asks for an image that is used next: in a shuffled order it lies where no cache expects it. More
/// than its beginning the hardware finds by itself.
void fetch(const std::byte* image, std::int64_t bytes) {
  constexpr std::int64_t kLine = 64, kMost = 4096;
  for (std::int64_t i = 0; i < std::min(bytes, kMost); i += kLine) __builtin_prefetch(image + i);
}

}  // namespace

Slot Reader::make_slot(const ReaderPlan& plan, bool labels) {
  const std::int64_t largest =
      (std::min(plan.order.batch, plan.order.samples) + plan.ranks - 1) / plan.ranks;
  Slot slot;
  slot.images = core::Tensor(plan.sample.batched(largest), core::DType::f32);
  slot.ids = core::Tensor({largest}, core::DType::i32);
  if (labels) slot.labels = core::Tensor({largest}, core::DType::i32);
  return slot;
}

void Reader::run(Cursor cursor, Ring& ring) noexcept {
  try {
    const std::int64_t batches = plan_.order.batches_per_epoch();
    for (; true; ++cursor.epoch, cursor.batch = 0) {
      const EpochOrder order(plan_.order, cursor.epoch);
      for (; cursor.batch < batches; ++cursor.batch) {
        Slot* slot = ring.acquire();
        if (slot == nullptr) return;
        fill(order, cursor, *slot);
        ring.publish();
      }
      if (!plan_.repeat) break;
    }
    ring.finish();
  } catch (...) {
    ring.finish(std::current_exception());
  }
}

/// Positions in the epoch that this rank takes of global batch `batch`.
std::pair<std::int64_t, std::int64_t> Reader::positions(std::int64_t batch) const {
  const std::int64_t begin = batch * plan_.order.batch;
  const auto [first, last] =
      comm::rank_slice(plan_.order.batch_size(batch), plan_.rank, plan_.ranks);
  return {begin + first, begin + last};
}

/// Loads the samples of this rank from `position` (in `batch`) on: to the end of its window where
/// the set is streamed, else those of this batch.
void Reader::load_from(const EpochOrder& order, std::int64_t batch, std::int64_t position) {
  const std::int64_t end =
      plan_.order.chunk > 0 ? order.window(position).second : (batch + 1) * plan_.order.batch;
  ids_.clear();
  next_ = 0;
  for (; batch < plan_.order.batches_per_epoch() && batch * plan_.order.batch < end; ++batch) {
    const auto [first, last] = positions(batch);
    for (std::int64_t p = std::max(first, position); p < std::min(last, end); ++p) {
      ids_.push_back(order.id(p));
    }
  }
  source_.load(ids_);
}

void Reader::fill(const EpochOrder& order, const Cursor& cursor, Slot& slot) {
  const auto [first, last] = positions(cursor.batch);
  Batch& batch = slot.batch;
  batch.epoch = cursor.epoch;
  batch.index = cursor.batch;
  batch.global_size = plan_.order.batch_size(cursor.batch);
  batch.images = slot.images.rows(0, last - first);
  batch.ids = slot.ids.rows(0, last - first);
  if (slot.labels.defined()) batch.labels = slot.labels.rows(0, last - first);
  auto* images = batch.images.data<float>();
  for (std::int64_t p = first; p < last; ++p, ++next_) {
    if (next_ == ids_.size()) load_from(order, cursor.batch, p);
    if (next_ + 1 < ids_.size()) fetch(source_.image(next_ + 1), plan_.sample_bytes);
    const std::int64_t id = ids_[next_], i = p - first;
    const Transform transform =
        draw_transform(plan_.augment, plan_.sample, plan_.order.seed, cursor.epoch, id);
    normalizer_.apply(source_.image(next_), transform, images + i * plan_.sample.count());
    batch.ids.data<std::int32_t>()[i] = static_cast<std::int32_t>(id);
    if (slot.labels.defined()) batch.labels.data<std::int32_t>()[i] = source_.labels()[id];
  }
}

}  // namespace isaribi::data
