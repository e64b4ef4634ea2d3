// SPDX-License-Identifier: MIT
// Backends that need a driver to load (CUDA, Kokkos built for CUDA) are shared objects opened at
// run time, so that the same executable starts on a login node. A module exports one C function,
// isaribi_backend_module, that returns this.
#pragma once

#include <string>

#include "backends/api/registry.hpp"
#include "core/module_file.hpp"

namespace isaribi::api {

inline constexpr int kModuleAbi = 1;

struct Module : core::ModuleHead {
  /// The new backend, owned by the caller; it owns `fallback`.
  Backend* (*create)(const Options& options, Backend* fallback, core::Log& log) = nullptr;
};

/// The name of the exported function: extern "C" const Module* isaribi_backend_module().
inline constexpr const char* kModuleSymbol = "isaribi_backend_module";

/// Registers the module `file` (isaribi_cuda.so) under `entry.name`; it is opened when first asked
/// for (core::open_module).
/// entry.why_unusable and entry.create are filled in here.
void add_module(Registry& registry, Entry entry, const std::string& file);

}  // namespace isaribi::api
