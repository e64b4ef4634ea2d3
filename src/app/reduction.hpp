// SPDX-License-Identifier: MIT
// How this job sums gradients over its ranks, as the deck asks ([comm]).
#pragma once

#include <map>
#include <memory>
#include <string>

#include "app/session.hpp"
#include "comm/allreduce/topology.hpp"
#include "comm/progress_thread.hpp"
#include "comm/reduction_plan.hpp"
#include "train/config.hpp"

namespace isaribi::app {

/// Where the ranks sit, as far as sums of gradients need to know it.
struct Surroundings {
  comm::Topology topology;
  std::map<std::string, std::string> measured_racks;  ///< of hosts, by comm/topology=measure
};

/// Collective: everything about [comm] that can be wrong, before anything is made: a machine file
/// that is damaged, a named plan that these ranks do not come together in, a thread for sums where
/// MPI allows none. comm/topology=measure
/// measures racks, unless an earlier job of this run folder did so for these hosts. @throws
/// core::UsageError, core::DataError
Surroundings check_reduction(Session& session, const train::Config& config);

/// Collective. @throws core::UsageError when `progress` is "thread" and MPI allows calls of the
/// main thread only
void check_progress(comm::Communicator& comm, const std::string& progress);

/// A plan, and the thread that moves its sums on while the main thread computes, or null.
struct MovingPlan {
  std::unique_ptr<comm::AllReducePlan> plan;
  std::shared_ptr<comm::ProgressThread> thread;
};
/// Collective. `progress` is comm/progress of the deck: "thread"; "calls": whenever the main thread
/// asks, between layers; "auto": a thread where MPI allows one, and where it does not, calls, and
/// says so. @throws core::UsageError as check_progress
MovingPlan move_on(comm::Communicator& comm, std::unique_ptr<comm::AllReducePlan> plan,
                   const std::string& progress, core::Log& log);

/// Collective. comm/allreduce is a key of comm::allreduce_plan_names; "auto": the fastest plans by
/// the tuning that an earlier job of this run folder left, else by the file comm/tuning, when it
/// was made for these nodes, else by a few seconds of measuring now; left in the run folder, so
/// that a restart adds in the same order, as measured racks are (topology.toml); "deterministic":
/// the same among plans that all add in one order; or a plan such as "direct4-ring8/1M". Says what
/// it chose. @throws core::UsageError; core::DataError for a damaged file.
std::unique_ptr<comm::AllReducePlan> make_reduction(Session& session, const train::Config& config,
                                                    const Surroundings& surroundings);

}  // namespace isaribi::app
