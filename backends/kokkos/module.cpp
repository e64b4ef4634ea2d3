// SPDX-License-Identifier: MIT
// The one exported function of the Kokkos module (backends/api/module.hpp).
#include "backends/api/module.hpp"

#include <Kokkos_Core.hpp>

#include "backends/kokkos/backend.hpp"

namespace {

// Without a driver the loader already refuses the module; a driver without a device is found here.
const char* why_unusable() {
  return Kokkos::num_devices() == 0 ? "no device for the execution space of Kokkos" : nullptr;
}

isaribi::api::Backend* create(const isaribi::api::Options& options, isaribi::api::Backend* fallback,
                              isaribi::core::Log& log) {
  return isaribi::kokkos::make_backend(options, std::unique_ptr<isaribi::api::Backend>(fallback),
                                       log)
      .release();
}

}  // namespace

extern "C" __attribute__((visibility("default"))) const isaribi::api::Module*
isaribi_backend_module() {
  static const isaribi::api::Module module{{isaribi::api::kModuleAbi, why_unusable}, create};
  return &module;
}
