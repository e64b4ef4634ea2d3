// SPDX-License-Identifier: MIT
// The extents of a tensor, row-major, last dimension contiguous. Counts are 64-bit and overflow is
// an error.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>

namespace isaribi::core {

/// Up to kMaxRank extents, each >= 0. An extent of 0 (empty batch) is legal everywhere.
class Shape {
 public:
  static constexpr int kMaxRank = 6;

  Shape() = default;
  Shape(std::initializer_list<std::int64_t> extents);
  explicit Shape(std::span<const std::int64_t> extents);

  int rank() const { return rank_; }
  std::int64_t operator[](int axis) const { return extents_[static_cast<std::size_t>(axis)]; }
  /// Extent counted from the back: back(0) is the last, the channels of an activation.
  std::int64_t back(int axis = 0) const { return (*this)[rank_ - 1 - axis]; }
  /// Number of elements; 1 for rank 0.
  std::int64_t count() const { return count_; }
  /// Elements per index of the first axis (per sample of [N, ...]); 1 for rank <= 1.
  std::int64_t count_per_sample() const;
  std::span<const std::int64_t> extents() const {
    return {extents_.data(), static_cast<std::size_t>(rank_)};
  }

  /// The same shape with the first extent replaced: a batch of another size.
  Shape with_batch(std::int64_t n) const;
  /// This shape as one sample of a batch of n: [n, ...].
  Shape batched(std::int64_t n) const;

  bool operator==(const Shape& other) const;
  /// "[32, 28, 28, 1]"
  std::string text() const;

 private:
  std::array<std::int64_t, kMaxRank> extents_{};
  int rank_ = 0;
  std::int64_t count_ = 1;
};

}  // namespace isaribi::core
