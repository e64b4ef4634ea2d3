// SPDX-License-Identifier: MIT
// Entry of the simd backend; off.cpp and other_cpu.cpp take its place where it cannot exist.
#pragma once

#include "backends/api/registry.hpp"

namespace isaribi::simd {

/// Adds "simd" with the highest priority of the host backends.
void register_backend(api::Registry& registry);

}  // namespace isaribi::simd
