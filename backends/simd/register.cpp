// SPDX-License-Identifier: MIT
// Registers simd on x86-64. Options::isa, else the environment variable ISARIBI_ISA, forces a
// level.
#include "backends/simd/register.hpp"

#include <cstdlib>
#include <string>
#include <vector>

#include "backends/simd/backend.hpp"
#include "backends/simd/peaks.hpp"
#include "backends/simd/sums.hpp"

namespace isaribi::simd {
namespace {

std::string forced_level(const std::string& option) {
  const char* environment = std::getenv("ISARIBI_ISA");
  return !option.empty() ? option : environment != nullptr ? environment : "";
}

}  // namespace

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
    return std::make_unique<SimdBackend>(choose_level(forced_level(options.isa)),
                                         std::move(fallback), log);
  };
  entry.isa_levels = [](const api::Options& options) {
    std::vector<std::string> names;
    const std::string forced = forced_level(options.isa);
    if (!forced.empty()) return std::vector<std::string>{choose_level(forced).kernels->isa};
    for (const Level& level : rank_levels()) names.emplace_back(level.kernels->isa);
    return names;
  };
  entry.probes = peak_probes;
  entry.sum_kernels = sum_kernels;
  registry.add(std::move(entry));
}

}  // namespace isaribi::simd
