// SPDX-License-Identifier: MIT
// Weights whose gradients no rank sums over all ranks: each owns some rows, forms their gradients
// from the samples of all ranks, updates them and hands them to the others.
#pragma once

#include <cstdint>
#include <vector>

#include "comm/node_memory.hpp"

namespace isaribi::nn {

/// Which rows (outputs) of a parameter each rank owns.
struct Shards {
  /// Rank r owns rows [cuts[r], cuts[r + 1]) of the first axis; empty: the parameter is not
  /// sharded, and every rank updates all of it.
  std::vector<std::int64_t> cuts;
  int rank = 0;  ///< this one

  bool any() const { return !cuts.empty(); }
  std::int64_t rows(int r) const {
    const auto i = static_cast<std::size_t>(r);
    return cuts[i + 1] - cuts[i];
  }
  std::int64_t begin() const { return cuts[static_cast<std::size_t>(rank)]; }
  std::int64_t end() const { return cuts[static_cast<std::size_t>(rank) + 1]; }
};

/// Whether and how the weights of a graph are sharded.
struct Sharding {
  int rank = 0, ranks = 1;          ///< of the communicator of its passes (nn::Pass::comm)
  std::int64_t batch = 0;           ///< samples of all ranks in one pass, at most
  std::int64_t passes = 1;          ///< that make a step: micro-batches
  std::int64_t gradient_bytes = 8;  ///< on the wire, of one element of a gradient that is summed
  std::int64_t smallest = 65536;    ///< elements of a weight: below, latencies decide
  std::int64_t rows = 16;           ///< of each rank, at least: products of fewer are slow
  /// For what the ranks of a node need have only once, of Graph::shared_bytes(); null: each rank
  /// has all of it.
  comm::NodeMemory* node = nullptr;

  /// Whether a linear layer is better off with its weight in shards, by the bytes that a rank
  /// sends in a step, times P / (P - 1): 4 N (inputs + outputs / P) for what gradients are made of
  /// (layers/sufficient_factors.hpp), N the samples of all passes, and 4 inputs outputs for its
  /// rows, against 2 gradient_bytes inputs outputs for an allreduce of the gradient.
  bool pays(std::int64_t inputs, std::int64_t outputs) const;
  Shards of(std::int64_t outputs) const;
};

}  // namespace isaribi::nn
