// SPDX-License-Identifier: MIT
#include "backends/reference/register.hpp"

#include <memory>
#include <utility>

#include "backends/reference/backend.hpp"

namespace isaribi::reference {

void register_backend(api::Registry& registry) {
  api::Entry entry;
  entry.name = "reference";
  entry.priority = 0;  // runs everywhere, chosen by "auto" only where nothing else does
  entry.why_unusable = [] { return std::string(); };
  entry.create = [](const api::Options&, std::unique_ptr<api::Backend>, core::Log&) {
    return std::make_unique<ReferenceBackend>();
  };
  registry.add(std::move(entry));
}

}  // namespace isaribi::reference
