// SPDX-License-Identifier: MIT
// Everything a training run is told, typed: what app/ fills from deck and command line and train/
// reads.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "io/checkpoint/checkpoint.hpp"
#include "io/data/settings.hpp"
#include "nn/model_spec.hpp"
#include "optim/kfac/settings.hpp"
#include "optim/settings.hpp"

namespace isaribi::train {

/// [run]
struct RunSettings {
  std::string dir = "runs/default";
  std::uint64_t seed = 1;
  std::string backend = "auto";
  int threads = 0;                ///< OpenMP threads per rank; 0: the cores this rank is bound to
  std::string isa;                ///< force an instruction set of the simd backend
  double watchdog_seconds = 300;  ///< no progress for this long ends the job; 0: off
};

/// [train]
struct TrainSettings {
  double epochs = 10;
  std::int64_t steps = 0;          ///< stop after this many steps; 0: as epochs says
  std::int64_t log_every = 100;    ///< steps per line
  std::int64_t eval_every = 0;     ///< steps between evaluations; 0: after every epoch
  std::int64_t micro_batches = 1;  ///< gradient accumulation: parts of each global batch
  std::string loss = "softmax_cross_entropy";  ///< or mean_squared_error, bernoulli_cross_entropy
  double label_smoothing = 0.0;
  std::string gradient_type =
      "f64";  ///< f64: ranks do not change the trajectory; f32: half the bytes on the wire
};

/// [comm]
struct CommSettings {
  std::string allreduce = "mpi";
  std::string wire = "same";      ///< of gradients between nodes; same: as train/gradient_type
  std::string topology;           ///< machine file; empty: as found
  std::string tuning;             ///< tuning file; empty: that of the run folder
  bool error_feedback = false;    ///< what `wire` rounds off is added to the next step's gradient
  std::string shards = "auto";    ///< weights of linear layers in shards, where it pays: auto, in
                                  ///< memory that a node shares; private, each rank; off
  std::string progress = "auto";  ///< who moves sums on while backward runs: thread, calls
  std::int64_t bucket_kb = 0;     ///< gradient bucket; 0: chosen from the size of the model
};

/// [diagnostics]
struct DiagnosticsSettings {
  std::vector<double> dump_steps;  ///< updates (from 0) whose curvature is written in full
  std::int64_t layers_every = 1;   ///< lines of output between two looks at every layer; 0: never
};

struct Config {
  int version = 1;  ///< deck format
  RunSettings run;
  data::DataSettings data;
  nn::ModelSpec model;
  optim::OptimizerSettings optimizer;
  optim::KfacSettings kfac;
  optim::ScheduleSettings schedule;
  optim::AverageSettings average;
  TrainSettings train;
  checkpoint::CheckpointSettings checkpoint;
  CommSettings comm;
  DiagnosticsSettings diagnostics;
};

}  // namespace isaribi::train
