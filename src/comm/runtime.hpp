// SPDX-License-Identifier: MIT
// The life of MPI in this process: initialised when asked for and never before (login nodes forbid
// it, --help and
// --version do without), finalised when the Runtime goes. Without a launcher MPI starts as a group
// of one.
#pragma once

#include <cstddef>
#include <memory>

#include "comm/communicator.hpp"

namespace isaribi::comm {

struct RuntimeOptions {
  /// Largest piece handed to one MPI call. Counts are `int` before MPI-4, and some transports break
  /// near 2 GiB; tests make it tiny to walk the same path cheaply.
  std::size_t piece_bytes = std::size_t{1} << 30;
  /// As if the library allowed calls of the main thread only.
  bool one_thread = false;
  /// What adds and rounds (Communicator::kernels).
  core::SumKernelsOf kernels = nullptr;
  /// Through which GPUs may sum (Communicator::gpus); must outlive the runtime.
  Gpus* gpus = nullptr;
};

/// Threads: MPI_THREAD_SERIALIZED. The main thread communicates, beside it at most the thread that
/// moves sums on (progress_thread.hpp), one call at a time by a lock around every call; the
/// watchdog's abort comes when nobody does. MPI_THREAD_MULTIPLE would cost more than it gives:
/// where UCX is built without multi-threading (a common module variant), Open MPI then leaves the
/// fast network for a slower one.
class Runtime {
 public:
  /// Initialises MPI. @throws core::CommError when MPI runs already or cannot start.
  static Runtime mpi(int& argc, char**& argv, RuntimeOptions options = {});
  /// One rank without MPI.
  static Runtime serial();

  Runtime(Runtime&&) noexcept;
  Runtime& operator=(Runtime&&) = delete;
  /// Finalises MPI. While an exception unwinds the stack it aborts the job instead, since the other
  /// ranks may never reach their finalisation.
  ~Runtime();

  Communicator& world() { return *world_; }
  bool uses_mpi() const { return uses_mpi_; }
  /// "Open MPI v4.1.4, ..." or "none (serial)". For --version: needs no initialised MPI.
  static std::string library_version();

 private:
  Runtime(std::unique_ptr<Communicator> world, bool uses_mpi);
  std::unique_ptr<Communicator> world_;
  bool uses_mpi_ = false;
  int exceptions_ = 0;
};

}  // namespace isaribi::comm
