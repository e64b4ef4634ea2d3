// SPDX-License-Identifier: MIT
// Takes the place of the simd backend when it was configured off.
#include "backends/simd/register.hpp"

namespace isaribi::simd {

void register_backend(api::Registry& registry) {
  api::Entry entry;
  entry.name = "simd";
  entry.why_unusable = [] {
    return std::string("built without SIMD kernels: configure with -DISARIBI_SIMD=ON");
  };
  registry.add(std::move(entry));
}

}  // namespace isaribi::simd
