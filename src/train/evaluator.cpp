// SPDX-License-Identifier: MIT
#include "train/evaluator.hpp"

namespace isaribi::train {

Evaluation evaluate_all(const Context& context, data::Loader& loader, nn::Graph& graph,
                        Objective& objective, Feed& feed, std::uint64_t seed) {
  auto phase = context.timers.phase("evaluate");
  core::Tensor sums = core::Tensor::zeros({3}, core::DType::f64);  // loss, correct, samples
  double* sum = sums.data<double>();
  loader.seek({});
  while (const data::Batch* batch = loader.next()) {
    auto step = context.timers.phase("evaluate/batch");
    const DeviceBatch on_device = feed.load(*batch);
    if (on_device.images.shape()[0] == 0) continue;  // nothing to synchronise in evaluation mode
    const nn::Pass pass{.training = false,
                        .seed = seed,
                        .ids = on_device.ids,
                        .global_batch = batch->global_size,
                        .comm = &context.comm,
                        .backend = &context.backend,
                        .timers = &context.timers};
    const core::Tensor& output = graph.forward(pass, on_device.images);
    const Objective::Sums s =
        objective.evaluate(output, on_device.images, on_device.labels, 1.0, false);
    sum[0] += s.loss;
    sum[1] += s.correct;
    sum[2] += static_cast<double>(on_device.images.shape()[0]);
  }
  context.comm.all_reduce(sums, comm::ReduceOp::sum);
  Evaluation out;
  out.samples = static_cast<std::int64_t>(sum[2]);
  if (sum[2] > 0) {
    out.loss = sum[0] / sum[2];
    if (objective.classifies()) out.accuracy = sum[1] / sum[2];
  }
  return out;
}

}  // namespace isaribi::train
