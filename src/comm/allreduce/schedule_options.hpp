// SPDX-License-Identifier: MIT
// How a ScheduleRunner sends what a schedule says. The same on every rank.
#pragma once

#include <cstdint>
#include <optional>

#include "core/dtype.hpp"
#include "core/tensor.hpp"

namespace isaribi::comm {

struct ScheduleOptions {
  /// Bytes of a segment as long as it travels in its own type; 0: one segment (largest_segment of
  /// the levels at most).
  std::int64_t segment_bytes = 0;
  /// Segments that may be in the same stage at once on one rank.
  int window = 2;
  /// Type of the payload: none, that of the buffer, else f32, bf16 or f16. A contribution is
  /// rounded once per level on the way down, the sum once more before it goes up; additions are in
  /// the type of the buffer. Levels below `first_wire_level` send the type of the buffer.
  std::optional<core::DType> wire = std::nullopt;
  int first_wire_level = 0;
  /// test() and wait() give up on a rank that has not begun a sum after this long, on one that has
  /// begun but does not send after 2 s more; 0: never.
  double limit_seconds = 300;
  /// Where messages wait to be added; must outlive the runner.
  core::MemoryResource* memory = &core::host_memory();
};

}  // namespace isaribi::comm
