// SPDX-License-Identifier: MIT
#include "backends/kokkos/runtime.hpp"

#include <Kokkos_Core.hpp>
#include <cstdlib>

namespace isaribi::kokkos {

void require_runtime(const api::Options& options, core::Log& log) {
  if (!Kokkos::is_initialized()) {
    Kokkos::InitializationSettings settings;
    settings.set_num_threads(options.threads);
    settings.set_device_id(options.device);
    settings.set_disable_warnings(
        true);  // its advice on OMP_PROC_BIND would reach every rank's terminal
    Kokkos::initialize(settings);
    // A user's own main() may have initialised Kokkos; then it also finalises it.
    std::atexit([] {
      if (Kokkos::is_initialized() && !Kokkos::is_finalized()) Kokkos::finalize();
    });
  }
  const int threads = Kokkos::num_threads();
  if (Kokkos::DefaultExecutionSpace().concurrency() == threads && threads != options.threads) {
    log.warn_once("kokkos: started with {} threads earlier in this process, {} were asked for now",
                  threads, options.threads);
  }
}

std::string runtime_text() {
  const int version = KOKKOS_VERSION;
  return fmt::format("{}, {} {}, Kokkos {}.{}.{}", Kokkos::DefaultExecutionSpace::name(),
                     Kokkos::DefaultExecutionSpace().concurrency(), "threads", version / 10000,
                     version / 100 % 100, version % 100);
}

}  // namespace isaribi::kokkos
