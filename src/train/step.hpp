// SPDX-License-Identifier: MIT
// One optimizer step: batches from the loader through forward, loss and backward, with whatever the
// optimizer wants to hear of them, sums over ranks, update.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "comm/gradient_reducer.hpp"
#include "comm/reduction_plan.hpp"
#include "io/data/loader.hpp"
#include "nn/graph.hpp"
#include "optim/optimizer.hpp"
#include "train/config.hpp"
#include "train/context.hpp"
#include "train/dump.hpp"
#include "train/feed.hpp"
#include "train/objective.hpp"
#include "train/trainer.hpp"
#include "train/trial.hpp"

namespace isaribi::train {

/// What a step saw, summed over ranks.
struct StepSums {
  double loss = 0, correct = 0, samples = 0;
  double order = 0;  ///< sum of order_hash over the samples: an exact integer below 2^53
  bool stop = false;
  std::string refused;  ///< why the update was not made, the same on every rank; empty: it was
};

class Step {
 public:
  /// Everything must outlive it.
  Step(const Config& config, const Context& context, const RunInputs& inputs, data::Loader& loader,
       nn::Graph& graph, Objective& objective, optim::Optimizer& optimizer);

  /// Collective. @param step updates made so far. @throws NumericalError when the loss is not
  /// finite, or an update was refused, and the optimizer cannot go on.
  StepSums run(std::int64_t step, double lr);
  comm::GradientReducer& gradients() { return *gradients_; }

 private:
  void forward_backward(const data::Batch& batch, std::int64_t part, StepSums& sums);
  void hear_fisher(const nn::Pass& pass);
  void sum_over_ranks(StepSums& sums);
  void update(double lr, StepSums& sums);
  void refuse(StepSums& sums);
  nn::Pass pass_for(const data::Batch& batch, const DeviceBatch& on_device) const;

  const Config& config_;
  const Context& context_;
  const RunInputs& inputs_;
  data::Loader& loader_;
  nn::Graph& graph_;
  Objective& objective_;
  optim::Optimizer& optimizer_;
  Feed feed_;
  std::unique_ptr<comm::GradientReducer> gradients_;
  std::int64_t micro_;

  // Of the step under way.
  std::int64_t step_ = 0;  ///< updates made before it
  optim::Listening listening_;
  std::optional<TrialPoint> trial_;
  std::optional<Dump> dump_;
};

}  // namespace isaribi::train
