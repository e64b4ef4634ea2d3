// SPDX-License-Identifier: MIT
// What a training run tells: a table of what will happen, one aligned line per interval,
// metrics.jsonl and status.json. Rank 0 speaks; the other ranks hold the object and stay silent.
#pragma once

#include <memory>
#include <string>

#include "comm/gradient_reducer.hpp"
#include "io/data/loader.hpp"
#include "io/report/metrics.hpp"
#include "nn/graph.hpp"
#include "optim/optimizer.hpp"
#include "train/progress.hpp"
#include "train/trainer.hpp"

namespace isaribi::train {

class Output {
 public:
  Output(const Config& config, const Context& context, const data::DatasetInfo& train,
         const nn::Graph& graph, int attempts);
  ~Output();

  /// The table, then the header of the lines; cuts metrics.jsonl back to the restored step.
  void start(const Progress& progress, std::int64_t total_steps, double steps_per_epoch);
  void interval(const Progress& progress, double epoch, double lr,
                const comm::ReducerStats& traffic);
  /// Collective: what the optimizer tells about curvature, one record per layer and one for all.
  void curvature(const Progress& progress, optim::Optimizer& optimizer);
  /// A step was refused.
  void refused(const Progress& progress, const std::string& why);
  void evaluation(const Progress& progress, double epoch, double seconds);
  void checkpoint(const Progress& progress, double seconds);
  /// Fills in the rates and the wall time, writes the closing line and status.json.
  void finish(Outcome& outcome);

 private:
  double training_seconds() const;
  void status(const Progress& progress, double epoch, const std::string& state, int exit);

  const Config& config_;
  const Context& context_;
  std::int64_t samples_, parameters_, total_steps_ = 0;
  double multiply_adds_ = 0;
  std::string sharded_;  ///< names of the weights in shards
  std::string copies_;   ///< who has one of them: node, rank
  int attempts_;
  double start_ = 0, interval_start_ = 0;  // wall clock
  double pause_ = 0, interval_pause_ = 0;  // evaluation and checkpoints: not training
  double trained_samples_ = 0, steps_at_start_ = 0;
  std::int64_t intervals_ = 0;                   // lines so far
  std::unique_ptr<report::MetricsLog> metrics_;  // rank 0
};

}  // namespace isaribi::train
