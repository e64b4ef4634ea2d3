// SPDX-License-Identifier: MIT
// What isaribi allreduce prints.
#pragma once

#include "app/machine_file.hpp"
#include "comm/allreduce/containment.hpp"
#include "core/log.hpp"

namespace isaribi::app {

/// The fitted model, every measurement with its prediction and its share of the bounds, errors of
/// predictions, how many plans were measured, and the choice; `exhaustive`: also how far what the
/// search alone found is from the best.
void print_tables(const comm::TunerReport& report, const comm::Topology& topology,
                  const MachineFile& machine, bool exhaustive, core::Log& log);

/// `ranks`: of the whole machine.
void print_containment(const comm::ContainmentReport& report, int ranks, core::Log& log);

}  // namespace isaribi::app
