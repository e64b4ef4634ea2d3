// SPDX-License-Identifier: MIT
// The parts of ranks in a buffer of the caller, and in the segments in which they travel: segment s
// holds the s-th piece of every part, so that all owners are busy with each, one behind the other
// in an order that suits the hierarchy.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/tensor.hpp"

namespace isaribi::comm {

class Parts {
 public:
  /// @param all, counts, mine as of Communicator::reduce_scatter_v on rank `rank`. @param order
  /// ranks, as their pieces lie in a segment. @param segment_bytes of a segment at most, unless
  /// that is less than an element of every rank
  Parts(core::Tensor all, std::span<const std::int64_t> counts, core::Tensor mine,
        std::vector<int> order, int rank, std::int64_t segment_bytes);

  std::int64_t segments() const { return segments_; }  ///< at least one
  /// Elements of the pieces of segment s, in their order.
  std::vector<std::int64_t> lengths(std::int64_t s) const;
  std::int64_t bytes(std::int64_t s) const;
  /// Where segment s lies in `all` as a whole; null where its pieces lie apart, or otherwise.
  std::byte* in_place(std::int64_t s) const;

  /// Between the caller's memory and `segment`, the memory of segment s.
  void read_all(std::int64_t s, std::byte* segment) const;
  void read_mine(std::int64_t s, std::byte* segment) const;
  void write_all(std::int64_t s, const std::byte* segment) const;
  void write_mine(std::int64_t s, const std::byte* segment) const;

  /// Of the counts, to compare them between ranks.
  std::uint64_t hash() const;

 private:
  /// Of one rank, in bytes.
  struct Piece {
    int rank;
    std::int64_t in_all, in_segment, length;
    std::int64_t in_part;  ///< behind the beginning of the rank's part
  };
  std::vector<Piece> pieces(std::int64_t s) const;

  core::Tensor all_, mine_;
  std::vector<std::int64_t> counts_, begins_;  ///< elements, by rank
  std::vector<int> order_;
  int rank_;
  std::int64_t width_, segments_ = 1;
};

}  // namespace isaribi::comm
