// SPDX-License-Identifier: MIT
#include "io/data/sampler.hpp"

#include <algorithm>
#include <bit>

#include "io/data/digest.hpp"
#include "io/data/loader.hpp"

namespace isaribi::data {
namespace {

constexpr int kRounds = 6;

std::uint64_t mask(int bits) {
  return (std::uint64_t{1} << bits) - 1;
}

}  // namespace

Permutation::Permutation(std::int64_t size, std::uint64_t seed, std::int64_t epoch,
                         std::uint64_t stream)
    : size_(size) {
  const int bits = size <= 1 ? 0 : std::bit_width(static_cast<std::uint64_t>(size - 1));
  left_bits_ = bits / 2;
  right_bits_ = bits - left_bits_;
  key_ = core::Philox(seed, core::Purpose::shuffle, static_cast<std::uint64_t>(epoch))
             .block(stream, 0);
}

std::int64_t Permutation::operator()(std::int64_t position) const {
  if (size_ <= 1) return position;
  auto value = static_cast<std::uint64_t>(position);
  do {
    // Alternating sides, so that halves of unequal width stay where they are.
    std::uint64_t left = value >> right_bits_, right = value & mask(right_bits_);
    for (std::uint32_t round = 0; round < kRounds; ++round) {
      std::uint64_t& changed = round % 2 == 0 ? left : right;
      const std::uint64_t other = round % 2 == 0 ? right : left;
      const core::Words4 f =
          core::philox4x32({{static_cast<std::uint32_t>(other),
                             static_cast<std::uint32_t>(other >> 32), round, key_.w[2]}},
                           key_.w[0], key_.w[1]);
      changed ^= f.w[0] & mask(round % 2 == 0 ? left_bits_ : right_bits_);
    }
    value = left << right_bits_ | right;
  } while (value >= static_cast<std::uint64_t>(size_));
  return static_cast<std::int64_t>(value);
}

std::int64_t OrderSpec::batches_per_epoch() const {
  return drop_last ? samples / batch : (samples + batch - 1) / batch;
}

std::int64_t OrderSpec::batch_size(std::int64_t index) const {
  return std::min(batch, samples - index * batch);
}

OrderSpec OrderSpec::training(const DataSettings& settings, std::int64_t samples,
                              std::uint64_t seed, bool streamed) {
  return {.samples = samples,
          .batch = settings.batch,
          .shuffle = settings.shuffle,
          .drop_last = settings.drop_last,
          .chunk = streamed ? std::max<std::int64_t>(settings.chunk, 1) : 0,
          .seed = seed};
}

EpochOrder::EpochOrder(const OrderSpec& spec, std::int64_t epoch)
    : spec_(spec),
      epoch_(epoch),
      whole_(spec.samples, spec.seed, epoch, 0),
      chunks_(spec.chunk == 0 ? 0 : (spec.samples + spec.chunk - 1) / spec.chunk, spec.seed, epoch,
              1),
      chunk_count_(chunks_.size()) {
  // The last chunk of the file may be short; it can stand in any slot of the permuted order.
  short_slot_ = chunk_count_;
  short_by_ = chunk_count_ * spec.chunk - spec.samples;
  for (std::int64_t slot = 0; spec.shuffle && slot < chunk_count_; ++slot) {
    if (chunks_(slot) == chunk_count_ - 1) short_slot_ = slot;
  }
}

std::int64_t EpochOrder::chunk_begin(std::int64_t slot) const {
  const std::int64_t begin = slot * spec_.chunk - (slot > short_slot_ ? short_by_ : 0);
  return std::min(begin, spec_.samples);
}

std::pair<std::int64_t, std::int64_t> EpochOrder::window(std::int64_t position) const {
  if (spec_.chunk == 0) return {0, spec_.samples};
  const std::int64_t slots = kWindowChunks;
  std::int64_t first = position / (slots * spec_.chunk) * slots;
  if (position >= chunk_begin(first + slots)) first += slots;
  return {chunk_begin(first), chunk_begin(first + slots)};
}

std::int64_t EpochOrder::id(std::int64_t position) const {
  if (!spec_.shuffle) return position;
  if (spec_.chunk == 0) return whole_(position);
  const auto [begin, end] = window(position);
  const Permutation inside(end - begin, spec_.seed, epoch_, 2 + static_cast<std::uint64_t>(begin));
  const std::int64_t shuffled = begin + inside(position - begin);
  std::int64_t slot = shuffled / spec_.chunk;
  if (shuffled >= chunk_begin(slot + 1)) ++slot;
  return chunks_(slot) * spec_.chunk + (shuffled - chunk_begin(slot));
}

std::string order_digest(const DataSettings& settings, std::int64_t samples, std::uint64_t seed,
                         std::int64_t epoch, bool streamed) {
  const OrderSpec spec = OrderSpec::training(settings, samples, seed, streamed);
  const EpochOrder order(spec, epoch);
  Digest digest;
  for (std::int64_t batch = 0; batch < spec.batches_per_epoch(); ++batch) {
    for (std::int64_t i = 0; i < spec.batch_size(batch); ++i) {
      const std::int64_t id = order.id(batch * spec.batch + i);
      digest.add(&id, sizeof id);
    }
  }
  return digest.hex();
}

}  // namespace isaribi::data
