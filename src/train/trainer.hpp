// SPDX-License-Identifier: MIT
// The training loop: one batch from file to step, and what happens between steps (evaluation, lines
// of output, checkpoints, stop requests). The way of a batch:
//   data::Loader -> nn::Graph::forward -> loss -> nn::Graph::backward -> comm::GradientReducer ->
//   optim::Optimizer
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "comm/reduction_plan.hpp"
#include "core/error.hpp"
#include "train/config.hpp"
#include "train/context.hpp"

namespace isaribi::train {

/// What the caller knows and the deck does not.
struct RunInputs {
  std::string deck;     ///< the resolved deck, stored in the run folder and in every checkpoint
  std::string isa;      ///< instruction set of the backend, noted in every checkpoint
  bool resume = false;  ///< --resume: a checkpoint must be there
  std::string
      initial_weights;  ///< a checkpoint to take weights (only) from; empty: random initialisation
  comm::AllReducePlan* reduction = nullptr;  ///< how gradients are summed over ranks; never null
  int attempts = 1;  ///< how often this run folder was started, for status.json
  /// Why this rank was asked to stop (signal, deadline, STOP file), empty when it was not. Called
  /// once per step; the ranks then agree.
  std::function<std::string()> stop_reason;
  /// Told the number of steps done, at the start of each: a sign of life for the watchdog.
  std::function<void(std::int64_t)> on_step;
  /// Told the seconds of each checkpoint written, so that a deadline can leave room for the next
  /// one.
  std::function<void(double)> checkpoint_took;
};

/// How a run ended.
struct Outcome {
  core::ExitCode code = core::ExitCode::ok;
  std::int64_t step = 0;
  double epoch = 0;
  double test_accuracy = -1;  ///< -1: the loss has no notion of accuracy, or nothing was evaluated
  double test_loss = -1;
  double samples_per_s = 0;  ///< of training, without evaluation and checkpoints
  double wall_s = 0;
  std::string stop_reason;  ///< why it stopped early
};

/// Trains as `config` says, from the newest checkpoint of the run folder when there is one and
/// restart allows it. Collective. @throws core::Error kinds with their exit codes; checkpoints
/// written before stay.
Outcome run(const Config& config, const Context& context, const RunInputs& inputs);

/// Result of a pass over a data set.
struct Evaluation {
  double loss = 0;       ///< mean over samples
  double accuracy = -1;  ///< top-1, -1 when not a classification
  std::int64_t samples = 0;
};

/// Evaluates the weights of the checkpoint `state_file` (or the newest one of a run folder) on
/// `data_file`. Collective.
Evaluation evaluate(const Config& config, const Context& context, const std::string& state_file,
                    const std::string& data_file);

}  // namespace isaribi::train
