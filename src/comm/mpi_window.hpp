// SPDX-License-Identifier: MIT
// SharedWindow over MPI-3 shared memory.
#pragma once

#include <mpi.h>

#include <cstddef>
#include <memory>

#include "comm/mpi_communicator.hpp"

namespace isaribi::comm {

/// Collective over `node`, whose ranks must share memory.
std::unique_ptr<SharedWindow> make_mpi_window(MPI_Comm node, std::size_t bytes,
                                              std::shared_ptr<MpiShared> shared);

}  // namespace isaribi::comm
