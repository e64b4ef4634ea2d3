// SPDX-License-Identifier: MIT
// How much of an allreduce a backward pass hides.
#pragma once

#include <cstdint>

#include "comm/communicator.hpp"
#include "comm/progress_thread.hpp"
#include "comm/reduction_plan.hpp"
#include "core/log.hpp"

namespace isaribi::app {

/// Collective: sums `bytes` of f32 gradients in buckets, as training does, beside computation that
/// takes about as long as the sum alone when all ranks compute at once, in `layers` parts of fixed
/// work; prints the overlap as the OSU benchmarks define it, 1 - (both - computation) / sum alone.
/// @param thread what moves the sums of `plan` on, or null
void measure_overlap(comm::Communicator& comm, comm::AllReducePlan& plan,
                     const comm::ProgressThread* thread, std::int64_t bytes, int layers,
                     core::Log& log);

}  // namespace isaribi::app
