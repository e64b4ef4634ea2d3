// SPDX-License-Identifier: MIT
// What of a run goes into a checkpoint, and back. The state is the same on all ranks; it lives on
// the backend's device and passes through host memory here.
#pragma once

#include <cstdint>

#include "io/checkpoint/checkpoint.hpp"
#include "io/data/loader.hpp"
#include "nn/graph.hpp"
#include "optim/optimizer.hpp"
#include "train/progress.hpp"

namespace isaribi::train {

/// The parts that change from step to step, by reference.
struct RunState {
  nn::Graph& graph;
  optim::Optimizer& optimizer;
  optim::WeightAverage& average;
  Progress& progress;
  api::Backend& backend;
};

/// Copies everything into host memory; the state of the optimizer was gathered before. @throws
/// NumericalError when a value is not finite: a checkpoint is a good one.
checkpoint::State capture(const RunState& run);

/// The inverse of capture; the state of the optimizer was gathered before. Weights are whole on
/// every rank once all are through. @param file for messages. @throws DataError when names or
/// shapes do not fit.
void restore(const checkpoint::State& state, const std::string& file, const RunState& run);

/// Weights and running statistics only: for evaluation, and to start from trained weights.
void restore_weights(const checkpoint::State& state, const std::string& file, nn::Graph& graph,
                     api::Backend& backend);

/// Whether `state` holds averaged weights, and if so replaces the weights of `graph` by them.
bool restore_average(const checkpoint::State& state, const std::string& file, nn::Graph& graph,
                     api::Backend& backend);

}  // namespace isaribi::train
