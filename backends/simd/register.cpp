// SPDX-License-Identifier: MIT
// Registers simd on x86-64. Options::isa, else the environment variable ISARIBI_ISA, forces a
// level.
#include "backends/simd/register.hpp"

#include <cstdlib>

#include "backends/simd/backend.hpp"

namespace isaribi::simd {

void register_backend(api::Registry& registry) {
  api::Entry entry;
  entry.name = "simd";
  entry.priority = 30;
  entry.fallback = "kokkos";
  entry.why_unusable = [] {
    return available_levels().empty() ? std::string("this CPU lacks AVX2, FMA or F16C")
                                      : std::string();
  };
  entry.create = [](const api::Options& options, std::unique_ptr<api::Backend> fallback,
                    core::Log& log) -> std::unique_ptr<api::Backend> {
    const char* forced = std::getenv("ISARIBI_ISA");
    const std::string isa = !options.isa.empty() ? options.isa : forced ? forced : "";
    return std::make_unique<SimdBackend>(choose_level(isa), std::move(fallback), log);
  };
  registry.add(std::move(entry));
}

}  // namespace isaribi::simd
