// SPDX-License-Identifier: MIT
// The part of `isaribi plan` about allreduces on a machine one does not have.
#pragma once

#include <cstdint>

#include "app/machine_file.hpp"
#include "core/log.hpp"

namespace isaribi::app {

/// Predicted seconds of every hierarchy of `ranks` ranks for a buffer of `bytes`, fastest first,
/// the first `shown` of them, with the physical bound. @throws core::UsageError when the machine
/// file does not say how many ranks share a node, or how fast links are.
void allreduce_table(const MachineFile& machine, int ranks, std::int64_t bytes, int shown,
                     core::Log& log);

/// Whether the fastest hierarchy by prediction, cut down to half the ranks, is within 3 % of the
/// fastest there: from `ranks` on, half by half, to one node. @throws as allreduce_table
void containment_table(const MachineFile& machine, int ranks, std::int64_t bytes, core::Log& log);

}  // namespace isaribi::app
