// SPDX-License-Identifier: MIT
// What training and evaluation do before they start: the deck on every rank, the checkpoint to go
// on from, a dry run of everything that can be wrong, the backend. Functions are collective, and
// fail on all ranks alike, unless they say otherwise.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "app/deck.hpp"
#include "app/session.hpp"
#include "backends/api/backend.hpp"
#include "io/data/loader.hpp"
#include "nn/graph.hpp"

namespace isaribi::app {

/// The deck file `path`, read by rank 0, with the overrides of the command line. @throws UsageError
/// or DataError.
Deck read_deck(Session& session, const std::string& path,
               const std::vector<std::string>& overrides);

/// What a checkpoint says about the run that wrote it.
struct CheckpointNotes {
  std::string path;
  std::string deck;         ///< resolved
  std::string data_digest;  ///< of its training set
  std::string isa;          ///< instruction set that computed it; empty when there was no choice
};
/// The notes of `path`: a checkpoint, or the newest good one of a run folder. Rank 0 reads.
CheckpointNotes read_notes(Session& session, const std::string& path);
/// The checkpoint that a run with this deck goes on from, if any. @throws UsageError when the run
/// folder holds some and checkpoint/restart is "never".
std::optional<CheckpointNotes> find_restart(Session& session, const train::Config& config,
                                            bool resume);

/// Builds the network, objective, optimizer and schedule of `deck` without memory, on rank 0, and
/// compares them with the data sets. Returns the header of the training set.
data::DatasetInfo dry_run(Session& session, const Deck& deck);

/// What the optimizer of a run on `ranks` ranks would refuse of this network. No collective.
/// @throws UsageError
void check_optimizer(const train::Config& config, const nn::Graph& graph, int ranks);

/// Threads per rank: run/threads, else OMP_NUM_THREADS, else this rank's share of the CPUs it may
/// run on.
int threads_of_rank(const train::Config& config, comm::Communicator& node);
/// A backend, and the instruction set that all ranks compute with.
struct ChosenBackend {
  std::unique_ptr<api::Backend> backend;
  std::string isa;  ///< empty when the backend has no choice
};
/// The same kind of backend with the same instruction set on every rank, so that all of them, and a
/// restarted run, round alike: run/isa or ISARIBI_ISA, else `last_isa` (of the checkpoint) when
/// every rank has it, else the first one of rank 0's list that every rank has. @throws UsageError;
/// CollectiveError when the ranks have none in common.
ChosenBackend make_backend(Session& session, const train::Config& config,
                           const std::string& last_isa);

/// 16 hex digits that differ when the texts differ.
std::string fingerprint(const std::string& text);

}  // namespace isaribi::app
