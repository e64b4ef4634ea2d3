// SPDX-License-Identifier: MIT
// What every part of a run shares, made once by main and passed down by reference.
#pragma once

#include "backends/api/backend.hpp"
#include "comm/communicator.hpp"
#include "core/log.hpp"
#include "core/timer.hpp"

namespace isaribi::train {

struct Context {
  comm::Communicator& comm;
  api::Backend& backend;
  core::Log& log;
  core::PhaseTimers& timers;
};

}  // namespace isaribi::train
