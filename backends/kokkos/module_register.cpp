// SPDX-License-Identifier: MIT
// Registers the Kokkos backend as a run-time module: Kokkos was built for a device whose driver
// must be there to load.
#include "backends/api/module.hpp"
#include "backends/kokkos/register.hpp"

namespace isaribi::kokkos {

void register_backend(api::Registry& registry) {
  api::Entry entry;
  entry.name = "kokkos";
  entry.priority = 10;
  entry.fallback = "reference";
  api::add_module(registry, std::move(entry), "isaribi_kokkos.so");
}

core::PhaseTimers::Observer phase_observer() {
  return [](std::string_view) {};  // the Kokkos of the module is not reachable from here
}

}  // namespace isaribi::kokkos
