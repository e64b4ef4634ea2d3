// SPDX-License-Identifier: MIT
// Takes the place of the simd backend on CPUs other than x86-64.
#include "backends/simd/register.hpp"

namespace isaribi::simd {

void register_backend(api::Registry& registry) {
  api::Entry entry;
  entry.name = "simd";
  entry.why_unusable = [] {
    return std::string("no SIMD kernels for this CPU architecture: they are written for x86-64");
  };
  registry.add(std::move(entry));
}

}  // namespace isaribi::simd
