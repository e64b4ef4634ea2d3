// SPDX-License-Identifier: MIT
// A pass over a whole data set with fixed weights: loss and accuracy, summed over ranks.
#pragma once

#include "io/data/loader.hpp"
#include "nn/graph.hpp"
#include "train/feed.hpp"
#include "train/objective.hpp"
#include "train/trainer.hpp"

namespace isaribi::train {

/// Runs `loader` (an evaluation loader) from its start to its end through `graph`. Collective.
Evaluation evaluate_all(const Context& context, data::Loader& loader, nn::Graph& graph,
                        Objective& objective, Feed& feed, std::uint64_t seed);

}  // namespace isaribi::train
