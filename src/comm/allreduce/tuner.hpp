// SPDX-License-Identifier: MIT
// Which plan sums a buffer fastest on this machine: calibrate a cost model with a few sums, predict
// every plan, measure the most promising ones and the library, choose by measurement.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "comm/allreduce/cost_model.hpp"
#include "comm/allreduce/plan_choice.hpp"
#include "comm/allreduce/schedule_runner.hpp"

namespace isaribi::comm {

/// Collective: what runs a plan that is not the library's. The payload is `wire` between nodes
/// only.
std::unique_ptr<ScheduleRunner> make_runner(Communicator& comm, const Topology& topology,
                                            const PlanChoice& plan, std::optional<core::DType> wire,
                                            int window = 2);

struct Timing {
  double median = 0, least = 0;  ///< seconds, of the slowest rank each time
  int repetitions = 0;
};
/// Collective: runs `work` between barriers until `repetitions` or `seconds` are used up, at least
/// `least` times, after one run that does not count.
struct TimingLimits {
  int least = 3, most = 20;
  double seconds = 1;
};
Timing time_together(Communicator& comm, const TimingLimits& limits,
                     const std::function<void()>& work);

struct TunerOptions {
  std::vector<std::int64_t> sizes;      ///< bytes of a buffer
  core::DType type = core::DType::f32;  ///< of its elements
  std::optional<core::DType> wire;      ///< of the payload between nodes
  bool same_bits = false;               ///< only plans that add in the same order
  bool exhaustive = false;              ///< after the search measure every other plan too
  std::vector<PlanChoice> plans;        ///< measure these, if any are named, and no others
  double budget_seconds = 60;
  int window = 2;
};

struct PlanResult {
  std::int64_t bytes = 0;
  PlanChoice plan;
  Timing measured;
  double predicted = 0;      ///< seconds, before it was measured; 0: not predicted
  double fitted = 0;         ///< seconds, by the model of the report
  bool calibration = false;  ///< its measurement made the first model
  bool searched = false;     ///< by the search itself, not because it was to be exhaustive
};

struct TuningEntry {
  std::int64_t bytes = 0;
  PlanChoice plan;
  double seconds = 0, library_seconds = 0;  ///< measured
};

/// What a tuning file holds.
struct Tuning {
  std::string topology;              ///< its description: a tuning belongs to one
  std::string wire;                  ///< "f32", ...: or empty
  std::string order;                 ///< "any", or "one" when all its plans add in the same order
  std::vector<TuningEntry> entries;  ///< by size
  /// That of the measured size nearest to `bytes`, as a ratio.
  const PlanChoice& choose(std::int64_t bytes) const;
};

struct TunerReport {
  MachineModel model;
  std::vector<PlanResult> results;  ///< in the order of measurement
  std::int64_t plans = 0;           ///< candidates, summed over sizes
  Tuning tuning;
};

/// One without sizes, for these circumstances.
Tuning empty_tuning(const Topology& topology, const TunerOptions& options);

/// Collective; every rank returns the same. The library is measured at every size and chosen where
/// it wins, unless all plans are to add in the same order.
TunerReport tune(Communicator& comm, const Topology& topology, const TunerOptions& options);

}  // namespace isaribi::comm
