// SPDX-License-Identifier: MIT
// A buffer and its segments on their way through the stages of a schedule. Internal to
// ScheduleRunner and its exchanges.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "comm/allreduce/announcement.hpp"
#include "comm/allreduce/memory_pool.hpp"
#include "comm/allreduce/parts.hpp"
#include "comm/allreduce/schedule.hpp"
#include "comm/allreduce/stage_sums.hpp"
#include "comm/communicator.hpp"

namespace isaribi::comm {

/// A buffer on its way.
struct Operation {
  /// `first_narrow`: the level from which on it travels as `wire`; `fast`: Communicator::kernels().
  Operation(core::Tensor b, core::DType wire, int first_narrow, core::SumKernelsOf fast)
      : buffer(std::move(b)),
        wide(buffer.dtype(), buffer.dtype(), fast),
        narrow(buffer.dtype(), wire, fast),
        first_narrow_level(first_narrow) {}
  const StageSums& sums(const Stage& stage) const {
    return stage.level < first_narrow_level ? wide : narrow;
  }

  core::Tensor buffer, residual;  ///< residual: f32, or undefined
  std::optional<Parts> parts;     ///< of what goes one way only
  StageSums wide, narrow;
  int first_narrow_level;
  Announcement mine, theirs;
  bool heard = false;          ///< theirs has come
  std::size_t unfinished = 0;  ///< segments and announcements
  double start = 0;
};

/// A segment on its way.
struct Run {
  std::shared_ptr<Operation> operation;
  std::int64_t sequence = 0;
  std::int64_t segment = 0;   ///< of its operation
  std::byte* data = nullptr;  ///< of parts: not before its first stage
  core::Tensor copy;          ///< u8: where data points that is not the caller's
  float* residual = nullptr;  ///< beside data, or null
  std::shared_ptr<const Schedule> schedule;
  std::size_t index = 0;  ///< of the stage it is in or waits for

  const Stage& stage() const { return schedule->stages[index]; }
  const StageSums& sums() const { return operation->sums(stage()); }
  /// On the way up everything is rounded already.
  float* residual_to_round() const { return stage().gather ? nullptr : residual; }
  /// Of parts: from the caller's memory before the first stage, and back after the last one.
  void read(MemoryPool& memory);
  void write(MemoryPool& memory);

  // Of the exchange at hand.
  int round = 0;             ///< the first that is not received
  std::vector<int> missing;  ///< receives, by round
  int sends_left = 0;
  std::vector<Slot> slots;          ///< of the receives
  std::vector<bool> arrived;        ///< beside slots
  core::Tensor incoming, outgoing;  ///< u8: what slots and narrow sends point into
  std::size_t outgoing_used = 0;
};

}  // namespace isaribi::comm
