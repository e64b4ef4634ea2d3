// SPDX-License-Identifier: MIT
// The Kokkos backend linked into the program: host execution spaces, which need no driver.
#include "backends/kokkos/register.hpp"

#include <Kokkos_Core.hpp>

#include "backends/kokkos/backend.hpp"

namespace isaribi::kokkos {

void register_backend(api::Registry& registry) {
  api::Entry entry;
  entry.name = "kokkos";
  entry.priority = 10;
  entry.why_unusable = [] { return std::string(); };
  entry.create = make_backend;
  entry.fallback = "reference";
  registry.add(std::move(entry));
}

core::PhaseTimers::Observer phase_observer() {
  return [](std::string_view name) {
    if (name.empty()) {
      Kokkos::Profiling::popRegion();
    } else {
      Kokkos::Profiling::pushRegion(std::string(name));
    }
  };
}

}  // namespace isaribi::kokkos
