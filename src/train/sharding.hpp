// SPDX-License-Identifier: MIT
// Which weights of a run are in shards, and where they lie ([comm] shards).
#pragma once

#include <memory>

#include "comm/node_memory.hpp"
#include "nn/graph.hpp"
#include "train/config.hpp"
#include "train/context.hpp"

namespace isaribi::train {

/// For rank `rank` of a run on `ranks` ranks. Gradients must be in host memory for it.
nn::Sharding sharding_of(const Config& config, int rank, int ranks);

/// Collective: memory of this node for the weights in shards of a graph with these options; null
/// where there are none, or each rank is to keep its own. Says so where a node has no room.
/// @param route between nodes, or null
std::unique_ptr<comm::NodeMemory> node_memory_of(const Config& config, const Context& context,
                                                 const nn::ModelSpec& model,
                                                 const core::Shape& sample,
                                                 const nn::GraphOptions& options,
                                                 const comm::OwnerRoute* route);

}  // namespace isaribi::train
