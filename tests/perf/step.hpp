// SPDX-License-Identifier: MIT
// One training step on synthetic data: forward, loss, backward, sum over ranks, SGD with momentum.
// The same work as peer_torch.py's `step`.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "backends/api/backend.hpp"
#include "comm/bucket_reducer.hpp"
#include "comm/communicator.hpp"
#include "comm/node_memory.hpp"
#include "nn/graph.hpp"
#include "optim/optimizer.hpp"

namespace isaribi::perf {

/// The model of a step: "mlp4096" (784-4096-4096-10, relu) or a preset of nn.
nn::ModelSpec model_spec(const std::string& name);

class Step {
 public:
  /// On 28 x 28 x 1 samples; the autoencoder learns its input (Bernoulli cross-entropy), the others
  /// classes. @param batch global: divided among the ranks of `comm`. Collective.
  Step(const std::string& model, std::int64_t batch, api::Backend& backend,
       comm::Communicator& comm);
  /// One step. Collective. @return mean loss of this rank's samples.
  double run();
  std::int64_t parameters() const { return graph_->parameter_count(); }
  /// The graph's forward and backward per layer for `steps` steps, and the update: seconds each.
  std::vector<std::pair<std::string, double>> profile_layers(int steps);

 private:
  void one(core::PhaseTimers* timers);

  api::Backend& backend_;
  comm::Communicator& comm_;
  std::int64_t global_batch_, batch_;
  bool autoencoder_;
  std::unique_ptr<comm::NodeMemory> node_memory_;  ///< of weights in shards
  std::unique_ptr<nn::Graph> graph_;
  std::unique_ptr<optim::Optimizer> optimizer_;
  std::unique_ptr<comm::AllReducePlan> plan_;
  std::unique_ptr<comm::GradientReducer> reducer_;
  core::Tensor x_, targets_, loss_, dz_, ids_;
  std::int64_t steps_ = 0;
};

/// Every distinct convolution of a preset as one JSON array of {"layer", "h", "i", "o", "k", "s",
/// "p", "g"}, in the order of the layers.
std::string convolutions_json(const std::string& preset, std::int64_t extent, std::int64_t channels,
                              api::Backend& backend);

}  // namespace isaribi::perf
