// SPDX-License-Identifier: MIT
#include "core/shape.hpp"

#include <algorithm>

#include "core/error.hpp"

namespace isaribi::core {

Shape::Shape(std::initializer_list<std::int64_t> extents)
    : Shape(std::span(extents.begin(), extents.size())) {}

Shape::Shape(std::span<const std::int64_t> extents) : rank_(static_cast<int>(extents.size())) {
  if (extents.size() > kMaxRank) throw InternalError("a shape of more than 6 dimensions");
  for (std::size_t i = 0; i < extents.size(); ++i) {
    extents_[i] = extents[i];
    if (extents[i] < 0 || __builtin_mul_overflow(count_, extents[i], &count_)) {
      throw UsageError(
          "a dimension is negative or the element count overflows 64 bits in shape of " +
          std::to_string(extents.size()) + " dimensions");
    }
  }
}

std::int64_t Shape::count_per_sample() const {
  std::int64_t product = 1;
  for (int i = 1; i < rank_; ++i) product *= (*this)[i];
  return product;
}

Shape Shape::with_batch(std::int64_t n) const {
  std::array<std::int64_t, kMaxRank> e = extents_;
  e[0] = n;
  return Shape(std::span<const std::int64_t>(e.data(), static_cast<std::size_t>(rank_)));
}

Shape Shape::batched(std::int64_t n) const {
  std::array<std::int64_t, kMaxRank + 1> e{};
  e[0] = n;
  std::copy_n(extents_.begin(), rank_, e.begin() + 1);
  return Shape(std::span<const std::int64_t>(e.data(), static_cast<std::size_t>(rank_) + 1));
}

bool Shape::operator==(const Shape& other) const {
  return rank_ == other.rank_ &&
         std::equal(extents_.begin(), extents_.begin() + rank_, other.extents_.begin());
}

std::string Shape::text() const {
  std::string out = "[";
  for (int i = 0; i < rank_; ++i) out += (i ? ", " : "") + std::to_string((*this)[i]);
  return out + "]";
}

}  // namespace isaribi::core
