// SPDX-License-Identifier: MIT
// Stands for the Kokkos backend in a build configured without it: registers the reason.
#include "backends/kokkos/register.hpp"

namespace isaribi::kokkos {

void register_backend(api::Registry& registry) {
  api::Entry entry;
  entry.name = "kokkos";
  entry.why_unusable = [] {
    return std::string("built without Kokkos: configure with -DISARIBI_KOKKOS=ON");
  };
  registry.add(std::move(entry));
}

core::PhaseTimers::Observer phase_observer() {
  return [](std::string_view) {};
}

}  // namespace isaribi::kokkos
