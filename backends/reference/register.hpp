// SPDX-License-Identifier: MIT
// The one function that the program calls to have this backend in its list.
#pragma once

#include "backends/api/registry.hpp"

namespace isaribi::reference {

void register_backend(api::Registry& registry);

}  // namespace isaribi::reference
