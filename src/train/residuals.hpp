// SPDX-License-Identifier: MIT
// What error feedback (comm/error_feedback) keeps from step to step, in a checkpoint: every rank
// lost something else, so the state has a row of every rank, [ranks, parameters] f32.
#pragma once

#include <string>

#include "comm/communicator.hpp"
#include "comm/gradient_reducer.hpp"
#include "core/log.hpp"
#include "io/checkpoint/state.hpp"

namespace isaribi::train {

/// Collective: appends the residuals of all ranks to `state`, if there are any.
void append_residuals(checkpoint::State& state, const comm::GradientReducer& gradients,
                      comm::Communicator& comm);

/// Local: the row of this rank. Without one, or with those of another number of ranks, it begins at
/// 0 and says so: what was lost in the steps just before the checkpoint, less than one rounding per
/// element and rank, stays lost.
void restore_residuals(const checkpoint::State& state, const std::string& file,
                       comm::GradientReducer& gradients, const comm::Communicator& comm,
                       core::Log& log);

}  // namespace isaribi::train
