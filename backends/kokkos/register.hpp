// SPDX-License-Identifier: MIT
// What the rest of the program sees of the Kokkos backend: how it enters the registry, and an
// observer that gives the phases of core/timer.hpp to Kokkos Tools. No Kokkos header is included
// here.
#pragma once

#include "backends/api/registry.hpp"
#include "core/timer.hpp"

namespace isaribi::kokkos {

/// Adds the backend "kokkos" (priority 10, fallback "reference"), or the reason why this build has
/// none.
void register_backend(api::Registry& registry);

/// Pushes a Kokkos Tools region at the start of each phase and pops it at the end; does nothing
/// while no tool is loaded (KOKKOS_TOOLS_LIBS), and nothing in a build without Kokkos or with
/// Kokkos as a run-time module.
core::PhaseTimers::Observer phase_observer();

}  // namespace isaribi::kokkos
