// SPDX-License-Identifier: MIT
// Life of Kokkos inside the program. Kokkos can be initialised once per process, so the first
// backend does it and the end of the process undoes it, whatever the order in which backends,
// tensors and MPI go away.
#pragma once

#include <string>

#include "backends/api/registry.hpp"
#include "core/log.hpp"

namespace isaribi::kokkos {

/// Initialises Kokkos with options.threads and options.device unless that was done before, and
/// registers the finalisation. Call after MPI_Init, so that the thread binding of the launcher is
/// in force.
void require_runtime(const api::Options& options, core::Log& log);

/// "OpenMP, 2 threads, Kokkos 4.7.0"; needs require_runtime() first.
std::string runtime_text();

}  // namespace isaribi::kokkos
