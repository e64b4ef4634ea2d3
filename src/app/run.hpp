// SPDX-License-Identifier: MIT
// Runs a verb and turns every failure into exactly one message per job and one documented exit
// code: the top of the program's error handling.
#pragma once

#include "app/session.hpp"

namespace isaribi::app {

/// Rank of this process under a launcher, from its environment (Open MPI, PMIx, PMI, Slurm); 0
/// without one. For what must be known before MPI starts.
int launcher_rank();
/// Number of ranks that the launcher started; 1 without one.
int launcher_size();

/// "isaribi: error: CAUSE" and its hint as one write to standard error.
void say_error(const core::Error& error, const std::string& whose = "");

/// For errors before MPI starts: rank 0 speaks, the others wait long enough for it to be heard,
/// since a launcher kills all ranks when one leaves with an error. Returns the exit code.
int leave_before_mpi(const core::Error& error);

/// Runs `command`. When it throws: if all ranks failed, they agree and return the code of the
/// lowest, which speaks; if only some did, those speak with rank and host and the job ends at once,
/// because the others wait for them. Returns the exit code of the process.
int run(const Command& command, Session& session);

}  // namespace isaribi::app
