// SPDX-License-Identifier: MIT
// Collectives with a count per rank, over MPI-3. One call of the library when all
// parts together fit its `int` counts (one piece); beyond, a reduction to, or a broadcast from,
// each rank in pieces: the same bytes for everyone.
#pragma once

#include <mpi.h>

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "comm/mpi_communicator.hpp"

namespace isaribi::comm {

/// As Communicator::start_reduce_scatter_v, with arguments that fit together.
Request start_reduce_scatter(MPI_Comm comm, const std::shared_ptr<MpiShared>& shared,
                             core::Tensor all, const std::vector<std::int64_t>& counts,
                             core::Tensor mine);
/// As Communicator::start_all_gather_v, with arguments that fit together.
Request start_all_gather(MPI_Comm comm, const std::shared_ptr<MpiShared>& shared, core::Tensor mine,
                         const std::vector<std::int64_t>& counts, core::Tensor all);
/// As Communicator::start_all_to_all_v.
Request start_all_to_all(MPI_Comm comm, const std::shared_ptr<MpiShared>& shared, core::Tensor send,
                         std::span<const std::int64_t> send_bytes, core::Tensor receive,
                         std::span<const std::int64_t> receive_bytes);

}  // namespace isaribi::comm
