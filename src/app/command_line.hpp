// SPDX-License-Identifier: MIT
// From argv to one Command. Touches neither MPI nor a GPU; --help, --version and errors end here.
#pragma once

#include <optional>

#include "app/session.hpp"

namespace isaribi::app {

/// The command to run, or nothing when the command line was answered already (--help, --version).
/// @throws core::UsageError.
std::optional<Command> parse_command_line(int argc, char** argv, const api::Registry& backends);

}  // namespace isaribi::app
