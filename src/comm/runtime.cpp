// SPDX-License-Identifier: MIT
#include "comm/runtime.hpp"

#include <mpi.h>

#include <exception>
#include <utility>

#include "comm/mpi_communicator.hpp"
#include "comm/serial_communicator.hpp"

namespace isaribi::comm {

Runtime::Runtime(std::unique_ptr<Communicator> world, bool uses_mpi)
    : world_(std::move(world)), uses_mpi_(uses_mpi), exceptions_(std::uncaught_exceptions()) {}

Runtime::Runtime(Runtime&& other) noexcept
    : world_(std::move(other.world_)), uses_mpi_(other.uses_mpi_), exceptions_(other.exceptions_) {}

Runtime Runtime::serial() {
  return Runtime(make_serial_communicator(), false);
}

Runtime Runtime::mpi(int& argc, char**& argv, RuntimeOptions options) {
  int initialised = 0;
  MPI_Initialized(&initialised);
  if (initialised != 0) throw core::CommError("MPI was initialised twice in one process");
  int provided = MPI_THREAD_SINGLE;
  check_mpi(MPI_Init_thread(&argc, &argv, MPI_THREAD_SERIALIZED, &provided), "MPI_Init_thread");
  if (provided < MPI_THREAD_FUNNELED) {
    MPI_Finalize();
    throw core::CommError("this MPI library allows no threads at all",
                          "use one built with thread support: compute and reader threads need it");
  }
  auto shared = std::make_shared<MpiShared>();
  shared->piece_bytes = options.piece_bytes;
  shared->kernels = options.kernels;
  shared->gpus = options.gpus;
  shared->several_threads = provided >= MPI_THREAD_SERIALIZED && !options.one_thread;
  return Runtime(make_mpi_communicator(MPI_COMM_WORLD, false, std::move(shared)), true);
}

Runtime::~Runtime() {
  if (!world_ || !uses_mpi_) return;
  if (std::uncaught_exceptions() != exceptions_) world_->abort(core::ExitCode::comm);
  world_.reset();
  MPI_Finalize();
}

std::string Runtime::library_version() {
  char text[MPI_MAX_LIBRARY_VERSION_STRING] = {};
  int length = 0;
  MPI_Get_library_version(text, &length);  // one of the few calls that need no MPI_Init
  const std::string version = text;        // not by `length`: Open MPI 4 counts the final zero
  return version.substr(0, version.find('\n'));
}

}  // namespace isaribi::comm
