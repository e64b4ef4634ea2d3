// SPDX-License-Identifier: MIT
#include "app/version.hpp"

#include <fmt/format.h>

#include "build_info.hpp"
#include "comm/runtime.hpp"
#include "core/error.hpp"

namespace isaribi::app {
namespace {

/// The instruction sets that a usable backend may choose from. A wrong ISARIBI_ISA is told, too:
/// --version is where people look for such things.
std::string isa_text(const api::Entry& entry) {
  if (!entry.isa_levels) return "";
  try {
    return fmt::format(", instruction sets here: {} (the first is taken)",
                       fmt::join(entry.isa_levels({}), ", "));
  } catch (const core::UsageError& error) {
    return fmt::format(", but {}; {}", error.cause(), error.hint());
  }
}

}  // namespace

std::string build_id() {
  return fmt::format("{} {} {}", build_info::version, build_info::git_hash, build_info::flags);
}

std::string version_text(const api::Registry& backends) {
  namespace b = build_info;
  std::string text = fmt::format("isaribi {} ({})\n", b::version, b::git_hash);
  const auto line = [&](std::string_view name, std::string_view value) {
    text += fmt::format("  {:<10} {}\n", name, value);
  };
  line("compiler", b::compiler);
  line("flags", b::flags);
  if (!b::sanitize.empty()) line("sanitizers", b::sanitize);
  line("mpi", comm::Runtime::library_version());
  line("hdf5", b::hdf5);
  line("kokkos", b::kokkos);
  line("blas", b::blas);
  line("cuda", b::cuda);
  line("openmp", b::openmp);
  line("libraries",
       fmt::format("fmt {}, toml++ {}, CLI11 {}, nlohmann-json {}, OpenSSL {}, libpng {}, zlib {}, "
                   "cairo {}, xxHash {}",
                   b::fmt, b::tomlplusplus, b::cli11, b::nlohmann_json, b::openssl, b::png, b::zlib,
                   b::cairo, b::xxhash));
  text += "backends\n";
  for (const api::Entry& entry : backends.entries()) {
    const std::string reason = entry.why_unusable();
    line(entry.name, reason.empty() ? "usable" + isa_text(entry) : reason);
  }
  return text;
}

}  // namespace isaribi::app
