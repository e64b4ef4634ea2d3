// SPDX-License-Identifier: MIT
// Which plans to measure, one after the other: first a few that between them show every parameter
// of the cost model, then, at every size, those that the model fitted so far finds fastest, until
// none that is left is likely to beat what was measured, or a tenth of all are. Pure: every rank
// decides alike from the same seconds.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "comm/allreduce/cost_model.hpp"
#include "comm/allreduce/plan_choice.hpp"

namespace isaribi::comm {

struct SearchOptions {
  std::vector<std::int64_t> sizes;  ///< bytes of a buffer
  std::optional<core::DType> wire;  ///< of the payload between nodes
  bool same_bits = false;           ///< only plans that add in the same order
  int window = 2;
  bool shared_memory = true;  ///< nodes have room for shared levels
  bool gpus = true;           ///< sums through GPUs are right, where the topology has them
};

class PlanSearch {
 public:
  struct Trial {
    std::int64_t bytes = 0;
    PlanChoice plan;
    double predicted = 0;      ///< seconds, as far as the model was fitted then; 0: not yet
    bool calibration = false;  ///< for the model's sake
  };

  PlanSearch(Topology topology, SearchOptions options);

  /// What to measure next; none: the search is over.
  std::optional<Trial> next();
  /// In any order, others than next() named too.
  void measured(const Trial& trial, double seconds);
  /// Every plan that is not measured yet, fastest first by the model, size by size.
  std::vector<Trial> rest();
  /// The model of all that was measured.
  void fit();

  /// Plans, over all sizes.
  std::int64_t plans() const { return static_cast<std::int64_t>(plans_.size()); }
  /// As many as next() names at most.
  std::int64_t allowance() const { return allowance_; }
  const MachineModel& model() const { return model_; }
  /// Seconds of any plan that these ranks come together in.
  double predict(std::int64_t bytes, const PlanChoice& plan) const;

 private:
  struct Plan {
    std::int64_t bytes = 0;
    PlanChoice plan;
    std::size_t hierarchy = 0;  ///< index into loads_
    double seconds = 0;         ///< measured; 0: not yet
  };

  void list_plans();
  bool allowed(const std::vector<HierarchyLevel>& levels) const;
  void list_calibration();
  void add_calibration(const std::vector<HierarchyLevel>& levels, std::int64_t bytes,
                       std::int64_t segments);
  double predict(const Plan& p) const;
  double typical_error() const;
  void guess_rates();
  Trial trial_of(const Plan& p) const;
  std::optional<Trial> most_promising(std::int64_t bytes) const;

  Topology topology_;
  SearchOptions options_;
  std::vector<std::vector<StageLoad>> loads_;
  std::vector<Plan> plans_;
  std::vector<Trial> calibration_;  ///< in this order
  std::int64_t allowance_ = 0, named_ = 0;
  std::size_t turn_ = 0;  ///< size whose turn it is
  MachineModel model_;
  std::vector<Sample> samples_;
  std::size_t fitted_ = 0;  ///< samples that model_ knows
};

}  // namespace isaribi::comm
