// SPDX-License-Identifier: MIT
// conformance BACKEND [ISA] [OP]: the conformance suite on one backend, as a ctest entry and for
// whoever works on a kernel (`conformance simd avx2 conv` runs the convolution cases alone).
// Exit 0: no failure; 1: failures, or operations missing where all are promised; 77: cannot run.
#include <fmt/format.h>

#include <cstdio>
#include <string>

#include "backends/cuda/register.hpp"
#include "backends/kokkos/register.hpp"
#include "backends/reference/register.hpp"
#include "backends/selftest/selftest.hpp"
#include "backends/simd/register.hpp"
#include "core/error.hpp"

using namespace isaribi;

namespace {

constexpr int kSkipped = 77;

api::Registry all_backends() {
  api::Registry registry;
  reference::register_backend(registry);
  kokkos::register_backend(registry);
  simd::register_backend(registry);
  cuda::register_backend(registry);
  return registry;
}

/// Why `name` cannot run here; empty when it can.
std::string why_not(const api::Registry& registry, const std::string& name) {
  for (const api::Entry& entry : registry.entries()) {
    if (entry.name == name) return entry.why_unusable();
  }
  throw core::UsageError("no backend is called \"" + name + "\"");
}

/// Reference and Kokkos promise the whole list of operations.
int missing(const api::Backend& backend, const std::string& name) {
  if (name != "reference" && name != "kokkos") return 0;
  const auto list = selftest::not_owned(backend);
  for (const std::string& pair : list) fmt::print("MISSING: {} does not own {}\n", name, pair);
  return static_cast<int>(list.size());
}

int run(const std::string& name, const api::Options& options, const selftest::Filter& filter) {
  core::Log log;
  const api::Registry registry = all_backends();
  const std::string reason = why_not(registry, name);
  if (!reason.empty()) {
    fmt::print("skipped: {}\n", reason);
    return kSkipped;
  }
  const auto oracle = registry.create("reference", {}, log);
  const auto backend = registry.create(name, options, log);
  fmt::print("{}\n", selftest::table_header());
  const auto results = selftest::run(*backend, *oracle, filter, [](const selftest::Result& r) {
    fmt::print("{}\n", selftest::table_line(r));
    std::fflush(stdout);
  });
  fmt::print("{}\n", selftest::table_summary(results));
  return selftest::failures(results) + missing(*backend, name) > 0 ? 1 : 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    api::Options options;
    selftest::Filter filter;
    options.threads = 2;
    if (argc > 2) options.isa = argv[2];
    if (argc > 3) filter.op = argv[3];
    return run(argc > 1 ? argv[1] : "reference", options, filter);
  } catch (const core::UsageError& error) {
    const bool lacking = error.cause().find("this CPU lacks") != std::string::npos;
    fmt::print("{}{}\n", lacking ? "skipped: " : "", error.what());
    return lacking ? kSkipped : 2;
  }
}
