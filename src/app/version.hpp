// SPDX-License-Identifier: MIT
// What --version says.
#pragma once

#include <string>

#include "backends/api/registry.hpp"

namespace isaribi::app {

/// Program, commit, compiler, flags, libraries, backends and whether they can run here.
std::string version_text(const api::Registry& backends);
/// "0.1.0 1a2b3c4d": what the ranks of a job must agree on.
std::string build_id();

}  // namespace isaribi::app
