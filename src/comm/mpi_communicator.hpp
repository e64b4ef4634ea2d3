// SPDX-License-Identifier: MIT
// The Communicator over MPI-3: blocking and nonblocking collectives cut into pieces that an `int`
// count can carry. (MPI-4 has large counts, but Open MPI 4.1, which many machines run, has not.)
#pragma once

#include <mpi.h>

#include <memory>
#include <mutex>

#include "comm/communicator.hpp"

namespace isaribi::comm {

/// What all communicators of one runtime share.
struct MpiShared {
  std::size_t piece_bytes = std::size_t{1} << 30;
  core::SumKernelsOf kernels = nullptr;
  Gpus* gpus = nullptr;
  std::atomic<CallBoard*> board{nullptr};
  bool several_threads = false;  ///< MPI allows calls of other threads, one at a time
  std::recursive_mutex calls;    ///< held during every call; recursive: calls are made of calls
};

/// Wraps `comm`; frees it at the end when `owned`.
std::unique_ptr<Communicator> make_mpi_communicator(MPI_Comm comm, bool owned,
                                                    std::shared_ptr<MpiShared> shared);

/// @throws core::CommError with the library's text unless `code` is MPI_SUCCESS.
void check_mpi(int code, const char* call);

}  // namespace isaribi::comm
