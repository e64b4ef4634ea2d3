// SPDX-License-Identifier: MIT
#include "comm/allreduce/tuner.hpp"

#include <algorithm>
#include <cmath>
#include <memory>

#include "comm/agreement.hpp"
#include "comm/allreduce/plan_search.hpp"
#include "core/error.hpp"
#include "core/timer.hpp"

namespace isaribi::comm {
namespace {

constexpr int kLeast = 3, kMost = 20;  // repetitions
constexpr double kShareOfOne = 0.05;   // of a size's time, for one plan

/// Collective: whether the nodes have room for one shared plan per size. Containers often give
/// little.
bool shares_memory(Communicator& comm, const Topology& topology, const TunerOptions& options) {
  const int in_node = topology.ranks() == 1 ? 1 : topology.largest_node();
  if (in_node == 1 || !options.plans.empty()) return false;
  PlanChoice plan{{{Exchange::shared, in_node}}, kLargestSharedSegment};
  if (topology.nodes > 1) plan.levels.push_back({Exchange::ring, topology.ranks()});
  std::vector<std::unique_ptr<ScheduleRunner>> runners;
  try {
    while (runners.size() < options.sizes.size()) {
      runners.push_back(make_runner(comm, topology, plan, options.wire, options.window));
    }
    return true;
  } catch (const CollectiveError&) {
    return false;
  }
}

/// Collective: whether a sum through the GPUs of all ranks comes, and is right. A library that
/// fails here, or is wrong, is left out of the search.
bool sums_through_gpus(Communicator& comm, const Topology& topology, const TunerOptions& options) {
  if (!topology.why_no_gpus.empty() || topology.ranks() == 1 || !options.plans.empty())
    return false;
  const core::Tensor x({1000}, core::DType::f32);
  for (std::int64_t i = 0; i < x.count(); ++i)
    x.data<float>()[i] = static_cast<float>(comm.rank() + i % 7);
  std::int64_t right = 1;
  try {
    const PlanChoice plan{{{Exchange::nccl, topology.ranks()}}, 0};
    make_runner(comm, topology, plan, std::nullopt, options.window)->start(x).wait();
  } catch (const core::Error&) {
    right = 0;
  }
  const std::int64_t ranks = comm.size();
  for (std::int64_t i = 0; i < x.count(); ++i) {
    const auto sum = static_cast<float>(ranks * (ranks - 1) / 2 + ranks * (i % 7));
    if (x.data<float>()[i] != sum) right = 0;
  }
  return comm.all_reduce(right, ReduceOp::min) == 1;
}

class Tuner {
 public:
  Tuner(Communicator& comm, const Topology& topology, const TunerOptions& options)
      : comm_(comm),
        topology_(topology),
        options_(options),
        search_(topology, {options.sizes, options.wire, options.same_bits, options.window,
                           shares_memory(comm, topology, options),
                           sums_through_gpus(comm, topology, options)}) {
    report_.tuning = empty_tuning(topology, options);
  }

  TunerReport run() {
    start_ = core::now_seconds();
    for (const std::int64_t bytes : options_.sizes) measure_library(bytes);
    if (options_.plans.empty()) {
      search();
    } else if (comm_.size() > 1) {
      for (const std::int64_t bytes : options_.sizes) measure_named(bytes);
    }
    std::stable_sort(report_.results.begin(), report_.results.end(),
                     [](const PlanResult& a, const PlanResult& b) { return a.bytes < b.bytes; });
    for (const std::int64_t bytes : options_.sizes) choose(bytes);
    return std::move(report_);
  }

 private:
  core::Tensor buffer(std::int64_t bytes) const {
    const auto width = static_cast<std::int64_t>(core::size_of(options_.type));
    return core::Tensor::zeros({bytes / width}, options_.type);
  }
  double spent() const {  // the same on all ranks
    return comm_.all_reduce(core::now_seconds() - start_, ReduceOp::max);
  }
  TimingLimits limits() const {
    const double each = options_.budget_seconds / static_cast<double>(options_.sizes.size());
    return {kLeast, kMost, each * kShareOfOne};
  }
  void measure_library(std::int64_t bytes);
  void measure_named(std::int64_t bytes);
  Timing measure(std::int64_t bytes, const PlanChoice& plan);
  void try_out(const PlanSearch::Trial& trial, bool searched);
  void search();
  void choose(std::int64_t bytes);

  Communicator& comm_;
  const Topology& topology_;
  const TunerOptions& options_;
  PlanSearch search_;
  TunerReport report_;
  double start_ = 0;
};

void Tuner::measure_library(std::int64_t bytes) {
  const core::Tensor x = buffer(bytes);
  report_.results.push_back(
      {bytes, {}, time_together(comm_, limits(), [&] { comm_.all_reduce(x, ReduceOp::sum); })});
}

Timing Tuner::measure(std::int64_t bytes, const PlanChoice& plan) {
  const core::Tensor x = buffer(bytes);
  const auto sums = make_runner(comm_, topology_, plan, options_.wire, options_.window);
  return time_together(comm_, limits(), [&] { sums->start(x).wait(); });
}

void Tuner::measure_named(std::int64_t bytes) {
  for (const PlanChoice& plan : options_.plans) {
    const bool known =
        std::any_of(report_.results.begin(), report_.results.end(),
                    [&](const auto& r) { return r.bytes == bytes && r.plan == plan; });
    if (!known) report_.results.push_back({bytes, plan, measure(bytes, plan)});
  }
  report_.plans += static_cast<std::int64_t>(options_.plans.size());
}

void Tuner::try_out(const PlanSearch::Trial& trial, bool searched) {
  PlanResult result{trial.bytes, trial.plan, measure(trial.bytes, trial.plan)};
  result.predicted = trial.predicted;
  result.calibration = trial.calibration;
  result.searched = searched;
  search_.measured(trial, result.measured.median);
  report_.results.push_back(result);
}

void Tuner::search() {
  report_.plans = search_.plans();
  while (const auto trial = search_.next()) {
    const bool late = !trial->calibration && spent() > options_.budget_seconds;
    if (late && !options_.exhaustive) break;
    try_out(*trial, true);
  }
  // All predicted before one of them is measured.
  if (options_.exhaustive) {
    for (const PlanSearch::Trial& trial : search_.rest()) try_out(trial, false);
  }
  if (report_.plans == 0) return;
  search_.fit();
  report_.model = search_.model();
  for (PlanResult& r : report_.results) {
    if (!r.plan.library()) r.fitted = search_.predict(r.bytes, r.plan);
  }
}

void Tuner::choose(std::int64_t bytes) {
  TuningEntry best{bytes, {}, 0, 0};
  for (const PlanResult& r : report_.results) {
    if (r.bytes != bytes) continue;
    if (r.plan.library()) best.library_seconds = r.measured.median;
    const bool allowed = !options_.same_bits || !r.plan.library() || comm_.size() == 1;
    if (allowed && (best.seconds == 0 || r.measured.median < best.seconds)) {
      best.plan = r.plan;
      best.seconds = r.measured.median;
    }
  }
  report_.tuning.entries.push_back(best);
}

}  // namespace

std::unique_ptr<ScheduleRunner> make_runner(Communicator& comm, const Topology& topology,
                                            const PlanChoice& plan, std::optional<core::DType> wire,
                                            int window) {
  ScheduleOptions options{.segment_bytes = plan.segment_bytes, .window = window, .wire = wire};
  check_plan(topology, plan, wire);
  options.first_wire_level = first_wire_level(topology, Hierarchy(topology.order, plan.levels));
  return std::make_unique<ScheduleRunner>(comm, topology.order, plan.levels, options);
}

Timing time_together(Communicator& comm, const TimingLimits& limits,
                     const std::function<void()>& work) {
  work();
  std::vector<double> times;
  double sum = 0;
  while (static_cast<int>(times.size()) < limits.least ||
         (static_cast<int>(times.size()) < limits.most && sum < limits.seconds)) {
    comm.barrier();
    const double start = core::now_seconds();
    work();
    times.push_back(comm.all_reduce(core::now_seconds() - start, ReduceOp::max));
    sum += times.back();
  }
  std::sort(times.begin(), times.end());
  const std::size_t n = times.size();
  return {(times[(n - 1) / 2] + times[n / 2]) / 2, times.front(), static_cast<int>(n)};
}

const PlanChoice& Tuning::choose(std::int64_t bytes) const {
  if (entries.empty()) throw core::InternalError("a tuning without sizes");
  const auto distance = [&](const TuningEntry& e) {
    return std::abs(std::log(static_cast<double>(std::max<std::int64_t>(bytes, 1)) /
                             static_cast<double>(std::max<std::int64_t>(e.bytes, 1))));
  };
  return std::min_element(
             entries.begin(), entries.end(),
             [&](const TuningEntry& a, const TuningEntry& b) { return distance(a) < distance(b); })
      ->plan;
}

Tuning empty_tuning(const Topology& topology, const TunerOptions& options) {
  return {topology.description(),
          options.wire ? std::string(core::name_of(*options.wire)) : std::string(),
          options.same_bits ? "one" : "any",
          {}};
}

TunerReport tune(Communicator& comm, const Topology& topology, const TunerOptions& options) {
  return Tuner(comm, topology, options).run();
}

}  // namespace isaribi::comm
