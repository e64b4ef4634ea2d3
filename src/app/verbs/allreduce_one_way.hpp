// SPDX-License-Identifier: MIT
// isaribi allreduce --collective reduce_scatter | all_gather: named plans one way only.
#pragma once

#include <string_view>

#include "app/machine_file.hpp"
#include "comm/allreduce/tuner.hpp"
#include "core/log.hpp"

namespace isaribi::app {

/// @throws core::UsageError for a name that is none
comm::Collective parse_collective(std::string_view name);

/// Collective: times options.plans beside MPI_Ireduce_scatter or MPI_Iallgatherv on options.sizes
/// bytes in all, alike parts of all ranks, and prints a table by the conventions of nccl-tests.
/// @param check also with exact integers. @return what was measured, for a CSV
/// @throws core::UsageError without plans; CollectiveError when a result is wrong.
comm::TunerReport measure_one_way(comm::Communicator& comm, const comm::Topology& topology,
                                  const MachineFile& machine, const comm::TunerOptions& options,
                                  comm::Collective collective, bool check, core::Log& log);

}  // namespace isaribi::app
