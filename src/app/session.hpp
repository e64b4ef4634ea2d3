// SPDX-License-Identifier: MIT
// What a verb is given to work with, and what the command line says is to be done.
#pragma once

#include <functional>
#include <string>

#include "backends/api/registry.hpp"
#include "comm/communicator.hpp"
#include "core/error.hpp"
#include "core/log.hpp"

namespace isaribi::app {

struct Session {
  comm::Communicator& comm;
  const api::Registry& backends;
  core::Log& log;
  /// Set by a verb that keeps a status: called once per job, on the rank that speaks, when it
  /// failed. Exceptions of it are dropped.
  std::function<void(core::ExitCode code, const std::string& cause)> on_failure = {};
};

/// One verb with its options, ready to run.
struct Command {
  std::string verb;
  /// Whether the ranks of a launcher work together. Other verbs run on its first rank only and need
  /// no MPI, so that they work on login nodes.
  bool parallel = false;
  bool quiet = false;  ///< --quiet
  bool debug = false;  ///< --debug
  std::function<core::ExitCode(Session& session)> run;
};

}  // namespace isaribi::app
