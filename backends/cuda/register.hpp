// SPDX-License-Identifier: MIT
// How the program learns of the CUDA backend: the module when this build made one, else the reason
// why not.
#pragma once

#include "backends/api/registry.hpp"

namespace isaribi::cuda {

/// Adds "cuda" to the registry. Never loads a CUDA library by itself.
void register_backend(api::Registry& registry);

}  // namespace isaribi::cuda
