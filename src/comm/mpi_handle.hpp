// SPDX-License-Identifier: MIT
// The MPI_Comm inside a Communicator, for io/hdf5 only: parallel HDF5 wants it.
#pragma once

#include <mpi.h>

#include "comm/communicator.hpp"

namespace isaribi::comm {

/// MPI_COMM_NULL for a serial communicator (then use a serial file driver). Stays owned by
/// `communicator`.
inline MPI_Comm mpi_comm(const Communicator& communicator) {
  const void* handle = communicator.native_handle();
  return handle == nullptr ? MPI_COMM_NULL : *static_cast<const MPI_Comm*>(handle);
}

}  // namespace isaribi::comm
