// SPDX-License-Identifier: MIT
// How much of an allreduce a backward pass hides.
#pragma once

#include <cstdint>

#include "comm/communicator.hpp"
#include "comm/reduction_plan.hpp"
#include "core/log.hpp"

namespace isaribi::app {

/// Collective: sums `bytes` of f32 gradients in buckets, as training does, beside computation that
/// takes as long as the sum alone, in `layers` parts; prints the overlap as the OSU benchmarks
/// define it, 1 - (all - computation) / sum alone.
void measure_overlap(comm::Communicator& comm, comm::AllReducePlan& plan, std::int64_t bytes,
                     int layers, core::Log& log);

}  // namespace isaribi::app
