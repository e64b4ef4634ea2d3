// SPDX-License-Identifier: MIT
// One training step on synthetic data: forward, softmax cross-entropy, backward, SGD with momentum.
// The same work as peer_torch.py's `step`.
#pragma once

#include <memory>
#include <string>

#include "backends/api/backend.hpp"
#include "comm/serial_communicator.hpp"
#include "nn/graph.hpp"
#include "optim/optimizer.hpp"

namespace isaribi::perf {

class Step {
 public:
  /// @param model a preset of nn ("lenet5", "small_cnn", "resnet14"), on 28 x 28 x 1 samples.
  Step(const std::string& model, std::int64_t batch, api::Backend& backend);
  /// One step. @return mean loss of the batch.
  double run();
  /// Multiply-adds of one forward pass over one sample.
  double multiply_adds() const;
  std::int64_t parameters() const { return graph_->parameter_count(); }
  /// Seconds per layer (and loss, update) of one more step, for `profile`.
  void profile(int steps);

 private:
  api::Backend& backend_;
  std::int64_t batch_;
  std::unique_ptr<nn::Graph> graph_;
  std::unique_ptr<comm::Communicator> comm_ = comm::make_serial_communicator();
  std::unique_ptr<optim::Optimizer> optimizer_;
  core::Tensor x_, labels_, targets_, loss_, dz_, ids_;
  std::int64_t steps_ = 0;
};

}  // namespace isaribi::perf
