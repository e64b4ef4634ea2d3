// SPDX-License-Identifier: MIT
// The interface of an optimizer: it turns the (globally averaged) gradients of the parameters into
// an update.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "backends/api/backend.hpp"
#include "nn/parameter.hpp"
#include "optim/settings.hpp"

namespace isaribi::optim {

class Optimizer {
 public:
  virtual ~Optimizer() = default;
  virtual std::string_view kind() const = 0;
  /// One update with learning rate `lr`; `step` counts from 1. Gradients are those of the mean loss
  /// over the global batch.
  virtual void step(double lr, std::int64_t step) = 0;
  /// Everything a restart needs beyond the weights: "momentum/conv1/weight", ...
  virtual std::vector<core::NamedTensor> state() = 0;
};

/// Makes the optimizer the settings name, over `parameters` (which must outlive it).
/// @throws UsageError for an unknown kind or an impossible value.
std::unique_ptr<Optimizer> make_optimizer(const OptimizerSettings& settings,
                                          std::span<nn::Parameter* const> parameters,
                                          api::Backend& backend);

/// Learning rate as a function of the position in training: peak x warm-up x decay. The warm-up
/// rises linearly from warmup_start to 1; the decay window starts at start_epoch, or where the
/// warm-up ends when that is 0.
class Schedule {
 public:
  /// @throws UsageError for an unknown kind or an impossible value.
  Schedule(const ScheduleSettings& settings, double peak, double total_epochs);
  /// @param epoch position in epochs, fractional; steps within an epoch advance it evenly.
  double lr(double epoch) const;

 private:
  ScheduleSettings settings_;
  double peak_, total_epochs_;
};

/// Exponential moving average (EMA) or stochastic weight averaging (SWA) of the weights.
/// EMA: average = decay average + (1 - decay) weights, from the first update's weights on; SWA: the
/// mean of the weights at all updates (Izmailov et al. 2018). Running statistics of batch norm are
/// not averaged.
class WeightAverage {
 public:
  /// @throws UsageError for an unknown kind or an impossible value.
  WeightAverage(const AverageSettings& settings, std::span<nn::Parameter* const> parameters,
                api::Backend& backend);
  /// Takes the current weights into the average when `epoch` has reached the start.
  void update(double epoch);
  /// Swaps the averaged weights in (before evaluation) or out (after it); no-op before the first
  /// update.
  void swap();
  bool active() const;
  /// The averages under the names of their parameters, "conv1/weight"; empty for kind none. While
  /// swapped in, these hold the trained weights: save only when swapped out.
  std::vector<core::NamedTensor> state();
  /// Number of averaged snapshots; part of the checkpoint.
  std::int64_t count() const { return count_; }
  void set_count(std::int64_t count) { count_ = count; }

 private:
  AverageSettings settings_;
  std::span<nn::Parameter* const> parameters_;
  api::Backend& backend_;
  std::vector<core::Tensor> average_;
  core::Tensor scratch_;  ///< the largest parameter, for swap
  std::int64_t count_ = 0;
};

}  // namespace isaribi::optim
