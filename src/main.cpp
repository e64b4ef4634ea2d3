// SPDX-License-Identifier: MIT
// The story of a run, and the only place that wires the modules together. Everything below main
// gets what it needs as an argument: there are no globals to find.
#include <csignal>
#include <cstdlib>
#include <optional>

#include "app/command_line.hpp"
#include "app/run.hpp"
#include "app/session.hpp"
#include "backends/api/registry.hpp"
#include "backends/cuda/register.hpp"
#include "backends/kokkos/register.hpp"
#include "backends/reference/register.hpp"
#include "backends/simd/register.hpp"
#include "comm/nccl_module.hpp"
#include "comm/runtime.hpp"
#include "core/error.hpp"
#include "core/log.hpp"

using namespace isaribi;

int main(int argc, char** argv) {
  // 0. A file that hits its size limit fails with an error we can name, not with a signal.
  std::signal(SIGXFSZ, SIG_IGN);

  // 1. The backends of this build. Registering touches no hardware; main is the only one who knows
  //    them all.
  api::Registry backends;
  reference::register_backend(backends);
  kokkos::register_backend(backends);
  simd::register_backend(backends);
  cuda::register_backend(backends);

  // 2. The command line. --help, --version and mistakes end here, without MPI and GPU, which login
  //    nodes forbid.
  std::optional<app::Command> command;
  try {
    command = app::parse_command_line(argc, argv, backends);
  } catch (const core::Error& error) {
    return app::leave_before_mpi(error);
  }
  if (!command) return EXIT_SUCCESS;

  // 3. Verbs for one process run on the first rank of a launcher; the others have nothing to do.
  if (!command->parallel && app::launcher_rank() != 0) return EXIT_SUCCESS;

  // 4. MPI, for the verbs that work together. Without a launcher it is a group of one. Ranks add
  //    what they sum with the kernels of a backend, or through GPUs by NCCL.
  comm::NcclModule nccl;
  std::optional<comm::Runtime> runtime;
  try {
    runtime.emplace(
        command->parallel
            ? comm::Runtime::mpi(argc, argv, {.kernels = backends.sum_kernels(), .gpus = &nccl})
            : comm::Runtime::serial());
  } catch (const core::Error& error) {
    return app::leave_before_mpi(error);
  }

  // 5. The voice of the program: rank 0 speaks.
  core::Log log(runtime->world().rank(), command->quiet   ? core::Log::Level::quiet
                                         : command->debug ? core::Log::Level::debug
                                                          : core::Log::Level::info);

  // 6. The verb (src/app/verbs). Every failure becomes one message and one exit code there.
  app::Session session{.comm = runtime->world(), .backends = backends, .log = log};
  return app::run(*command, session);
  // 7. MPI is finalised as `runtime` goes.
}
