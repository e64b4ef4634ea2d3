// SPDX-License-Identifier: MIT
// The Kokkos backend: portable kernels for every operation on the default execution space of the
// Kokkos that the program was built with.
#pragma once

#include <memory>

#include "backends/api/registry.hpp"

namespace isaribi::kokkos {

/// Starts Kokkos on first use (runtime.hpp) and makes a backend; `fallback` may be null, as nothing
/// is left to it.
std::unique_ptr<api::Backend> make_backend(const api::Options& options,
                                           std::unique_ptr<api::Backend> fallback, core::Log& log);

}  // namespace isaribi::kokkos
