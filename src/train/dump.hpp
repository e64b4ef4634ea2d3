// SPDX-License-Identifier: MIT
// The curvature of one step in full, as an HDF5 file that anyone can check: the samples that were
// seen, the weights before the step, and per layer the gradient, the factors, the damping and the
// direction. tests/conformance/check_dump.py does it in PyTorch.
//
//   attributes step, samples, optimizer
//   sample_ids [N] i32, inputs [N, ..] f32, labels [N] i32 (not of an autoencoder)
//   weights/LAYER/NAME, state before the step
//   layers/LAYER/{gradient, direction, A, G | fisher, S} f64, attributes damping, groups, ..
#pragma once

#include <string>
#include <vector>

#include "io/data/loader.hpp"
#include "nn/graph.hpp"
#include "optim/optimizer.hpp"
#include "train/context.hpp"

namespace isaribi::train {

class Dump {
 public:
  /// Before the passes of the step: the weights. @param step updates made before it
  Dump(const nn::Graph& graph, const Context& context, std::int64_t step);
  /// Collective: the samples of a micro-batch.
  void add(const data::Batch& batch, const Context& context);
  /// Collective, after the update: writes DIR/diagnostics/step_00000010.h5. @throws DataError.
  void write(const std::string& dir, optim::Optimizer& optimizer, const Context& context);

 private:
  std::int64_t step_;
  std::vector<core::NamedTensor> weights_;
  std::vector<core::Tensor> inputs_, labels_, ids_;  ///< per micro-batch, of all ranks
};

}  // namespace isaribi::train
