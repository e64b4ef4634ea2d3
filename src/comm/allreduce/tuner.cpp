// SPDX-License-Identifier: MIT
#include "comm/allreduce/tuner.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>

#include "core/error.hpp"
#include "core/timer.hpp"

namespace isaribi::comm {
namespace {

constexpr std::int64_t kSmallProbe = std::int64_t{64} << 10, kLargeProbe = std::int64_t{4} << 20;
constexpr int kProbes = 3;
constexpr std::int64_t kSmallestSegment = std::int64_t{16} << 10;
constexpr std::int64_t kSegments[] = {1, 2, 4, 8, 16, 32, 64};
constexpr double kShareMeasured = 0.1;  // of all plans, unless exhaustive
constexpr std::size_t kFewestMeasured = 3;

/// The levels of the machine themselves, one exchange for all.
std::vector<HierarchyLevel> natural_levels(const Topology& topology, Exchange exchange) {
  std::vector<HierarchyLevel> levels;
  for (const int size : topology.shape()) levels.push_back({exchange, size});
  return levels;
}

int first_network_level(const Topology& topology, const Hierarchy& hierarchy) {
  if (topology.nodes == 1) return 0;  // nothing to spare: what a user asked for, everywhere
  const auto node = std::find(topology.kinds.begin(), topology.kinds.end(), "node");
  if (node == topology.kinds.end()) return 0;
  const auto kind = static_cast<int>(node - topology.kinds.begin());
  int level = 0;
  for (const StageLoad& load : stage_loads(topology, hierarchy, 1)) {
    if (load.link > kind) break;
    ++level;
  }
  return level;
}

class Tuner {
 public:
  Tuner(Communicator& comm, const Topology& topology, const TunerOptions& options)
      : comm_(comm), topology_(topology), options_(options) {}

  TunerReport run() {
    start_ = core::now_seconds();
    if (comm_.size() > 1) {
      calibrate();
      list_plans();
    }
    for (const std::int64_t bytes : options_.sizes) tune_size(bytes);
    report_.tuning.topology = topology_.description();
    if (options_.wire) report_.tuning.wire = core::name_of(*options_.wire);
    return std::move(report_);
  }

 private:
  core::Tensor buffer(std::int64_t bytes) const {
    const auto width = static_cast<std::int64_t>(core::size_of(options_.type));
    return core::Tensor::zeros({bytes / width}, options_.type);
  }
  std::unique_ptr<ScheduleRunner> runner(const PlanChoice& plan) const {
    return make_runner(comm_, topology_, plan, options_.wire, options_.window);
  }

  void calibrate();
  void probe(Exchange exchange);
  void list_plans();
  PlanResult predicted(std::int64_t bytes, const PlanChoice& plan) const;
  std::vector<PlanResult> predicted(std::int64_t bytes) const;
  void tune_size(std::int64_t bytes);
  double spent() const {  // the same on all ranks
    return comm_.all_reduce(core::now_seconds() - start_, ReduceOp::max);
  }

  Communicator& comm_;
  const Topology& topology_;
  const TunerOptions& options_;
  TunerReport report_;
  std::vector<std::vector<HierarchyLevel>> levels_;
  double start_ = 0;
};

// Sums in one segment, so that levels come one after the other and can be timed apart.
void Tuner::calibrate() {
  report_.model.links.assign(topology_.kinds.size() + 1, {});
  for (const Exchange exchange : {Exchange::ring, Exchange::direct}) probe(exchange);
}

void Tuner::probe(Exchange exchange) {
  const PlanChoice plan{natural_levels(topology_, exchange), 0};
  const auto levels = plan.levels.size();
  std::vector<std::vector<double>> seconds;  // by size, by level
  const std::int64_t sizes[] = {kSmallProbe, kLargeProbe};
  for (const std::int64_t bytes : sizes) {
    const core::Tensor x = buffer(bytes);
    const auto sums = runner(plan);
    sums->start(x).wait();
    core::Tensor mean = core::Tensor::zeros({static_cast<std::int64_t>(levels)}, core::DType::f64);
    for (std::size_t l = 0; l < levels; ++l) {
      mean.data<double>()[l] = -sums->level_seconds(static_cast<int>(l));
    }
    for (int i = 0; i < kProbes; ++i) {
      comm_.barrier();
      sums->start(x).wait();
    }
    for (std::size_t l = 0; l < levels; ++l) {
      mean.data<double>()[l] += sums->level_seconds(static_cast<int>(l));
    }
    comm_.all_reduce(mean, ReduceOp::sum);
    seconds.emplace_back();
    for (std::size_t l = 0; l < levels; ++l) {
      seconds.back().push_back(mean.data<double>()[l] / kProbes / comm_.size());
    }
  }
  const Hierarchy hierarchy(topology_.order, plan.levels);
  const std::vector<StageLoad> small = stage_loads(topology_, hierarchy, kSmallProbe);
  const std::vector<StageLoad> large = stage_loads(topology_, hierarchy, kLargeProbe);
  for (std::size_t l = 0; l < levels; ++l) {
    const auto c = static_cast<std::size_t>(large[l].link);
    const double small_bytes = c == 0 ? small[l].port_bytes : small[l].door_bytes[c - 1];
    const double large_bytes = c == 0 ? large[l].port_bytes : large[l].door_bytes[c - 1];
    if (large_bytes <= 0) continue;
    const double per_byte =
        std::max(seconds[1][l] - seconds[0][l], 0.0) / (large_bytes - small_bytes);
    const double latency =
        std::max(seconds[0][l] - small_bytes * per_byte, 0.0) / std::max(large[l].rounds, 1);
    LinkModel& link = report_.model.links[c];
    const bool ring = exchange == Exchange::ring;
    (ring ? link.ring_latency : link.direct_latency) = latency;
    if (c == 0) {
      (ring ? link.ring_port : link.direct_port) = per_byte;
    } else {
      (ring ? link.ring_door : link.direct_door) = per_byte;
    }
  }
}

void Tuner::list_plans() {
  const std::uint64_t order =
      Hierarchy(topology_.order, natural_levels(topology_, Exchange::direct)).sum_signature();
  for (const std::vector<HierarchyLevel>& levels : candidate_levels(topology_)) {
    const Hierarchy hierarchy(topology_.order, levels);
    if (options_.same_bits && hierarchy.sum_signature() != order) continue;
    levels_.push_back(levels);
  }
}

PlanResult Tuner::predicted(std::int64_t bytes, const PlanChoice& plan) const {
  const std::int64_t segments =
      plan.segment_bytes > 0 ? (bytes + plan.segment_bytes - 1) / plan.segment_bytes : 1;
  return {bytes,
          plan,
          {},
          predict_seconds(report_.model, topology_, Hierarchy(topology_.order, plan.levels),
                          static_cast<double>(bytes), segments, options_.window)};
}

// The plans to measure, most promising first.
std::vector<PlanResult> Tuner::predicted(std::int64_t bytes) const {
  std::vector<PlanResult> plans;
  for (const PlanChoice& plan : options_.plans) {
    if (!plan.library()) plans.push_back(predicted(bytes, plan));
  }
  if (!options_.plans.empty()) return plans;
  for (const std::vector<HierarchyLevel>& levels : levels_) {
    for (const std::int64_t segments : kSegments) {
      const std::int64_t segment = (bytes + segments - 1) / segments;
      if (segments > 1 && segment < kSmallestSegment) break;
      plans.push_back(predicted(bytes, {levels, segments == 1 ? 0 : segment}));
    }
  }
  std::stable_sort(plans.begin(), plans.end(), [](const PlanResult& a, const PlanResult& b) {
    return a.predicted < b.predicted;
  });
  return plans;
}

void Tuner::tune_size(std::int64_t bytes) {
  const core::Tensor x = buffer(bytes);
  const double fair = options_.budget_seconds / static_cast<double>(options_.sizes.size());
  const double until = spent() + fair;
  const TimingLimits limits{3, 20, fair / 10};
  PlanResult library{
      bytes, {}, time_together(comm_, limits, [&] { comm_.all_reduce(x, ReduceOp::sum); }), 0};
  report_.results.push_back(library);
  TuningEntry best{bytes, {}, library.measured.median, library.measured.median};

  std::vector<PlanResult> plans = predicted(bytes);
  report_.plans += static_cast<std::int64_t>(plans.size());
  const bool all = options_.exhaustive || !options_.plans.empty();
  const std::size_t wanted =
      all ? plans.size()
          : std::max(kFewestMeasured,
                     static_cast<std::size_t>(kShareMeasured * static_cast<double>(plans.size())));
  for (std::size_t i = 0; i < std::min(wanted, plans.size()); ++i) {
    if (!all && i > 0 && spent() > until) break;
    const auto sums = runner(plans[i].plan);
    plans[i].measured = time_together(comm_, limits, [&] { sums->start(x).wait(); });
    if (plans[i].measured.median < best.seconds) {
      best.plan = plans[i].plan;
      best.seconds = plans[i].measured.median;
    }
    report_.results.push_back(plans[i]);
  }
  report_.tuning.entries.push_back(best);
}

}  // namespace

std::unique_ptr<ScheduleRunner> make_runner(Communicator& comm, const Topology& topology,
                                            const PlanChoice& plan, std::optional<core::DType> wire,
                                            int window) {
  ScheduleOptions options{.segment_bytes = plan.segment_bytes, .window = window, .wire = wire};
  options.first_wire_level = first_network_level(topology, Hierarchy(topology.order, plan.levels));
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

TunerReport tune(Communicator& comm, const Topology& topology, const TunerOptions& options) {
  return Tuner(comm, topology, options).run();
}

}  // namespace isaribi::comm
