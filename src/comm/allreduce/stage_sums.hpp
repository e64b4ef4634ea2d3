// SPDX-License-Identifier: MIT
// The arithmetic of a stage: what has come in, narrow or not, becomes part of the buffer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "comm/allreduce/schedule.hpp"
#include "comm/allreduce/sums.hpp"

namespace isaribi::comm {

/// The bytes of one receive, or one send, inside the memory of a stage.
struct Slot {
  const Message* message = nullptr;
  std::byte* data = nullptr;
};

class StageSums {
 public:
  /// Buffers of `type` that travel as `wire`, by sum_kernels(type, wire, fast).
  StageSums(core::DType type, core::DType wire, core::SumKernelsOf fast);

  /// Adds the slots of one round to `buffer` (its first element) on the way down: those of a ring
  /// as they come; of a direct exchange all members' parts by a binary tree, neighbours first, this
  /// member's own one standing in the buffer. On the way up they replace what is there.
  void take_in(const Stage& stage, std::vector<Slot> round, std::byte* buffer) const;
  /// Rounds what this member adds to a sum as if it, too, had travelled: who adds then makes no
  /// difference. A ring of more than two is left alone: there it makes one anyway.
  void round_own(const Stage& stage, std::byte* buffer) const;
  /// Elements as they travel. With a `residual` (beside `buffer`) of a narrow type: what was lost
  /// before is added first, and what is lost now is kept there, 0 where the rounded value is not
  /// finite.
  void put_out(const Slot& slot, const std::byte* buffer, float* residual = nullptr) const;
  /// Rounds elements [begin, end) to what can travel, with a residual likewise.
  void round(std::byte* buffer, std::int64_t begin, std::int64_t end,
             float* residual = nullptr) const;

  std::int64_t wire_bytes(std::int64_t elements) const { return elements * wire_width_; }
  bool narrow() const { return narrow_; }
  std::byte* at(std::byte* buffer, std::int64_t element) const { return buffer + element * width_; }
  const std::byte* at(const std::byte* buffer, std::int64_t element) const {
    return buffer + element * width_;
  }

 private:
  void add_by_tree(const Stage& stage, const Slot* parts, std::byte* buffer) const;

  void put_out_block(const std::byte* from, std::byte* to, std::int64_t n, float* residual) const;

  core::SumKernels kernels_;
  std::int64_t width_, wire_width_;
  bool narrow_, f64_;
};

}  // namespace isaribi::comm
