// SPDX-License-Identifier: MIT
#include "comm/allreduce/tuner.hpp"

#include <algorithm>
#include <cmath>
#include <memory>

#include "core/error.hpp"
#include "core/timer.hpp"

namespace isaribi::comm {
namespace {

constexpr std::int64_t kSmallestSegment = std::int64_t{16} << 10;
constexpr std::int64_t kSegments[] = {1, 2, 4, 8, 16, 32, 64};
constexpr double kShareMeasured = 0.1;  // of all plans, unless exhaustive
constexpr std::size_t kFewestMeasured = 3;
constexpr std::int64_t kCalibrationSegments = 16;
constexpr int kLeast = 3, kMost = 20;  // repetitions
constexpr double kShareOfOne = 0.05;   // of a size's time, for one plan
/// Where the fit begins: the orders of magnitude of a cluster.
constexpr LinkCost kFirstGuess{1e-5, 1e-9, 1e-9};
constexpr double kInsideFaster = 10;

/// The levels of the machine themselves, one exchange for all.
std::vector<HierarchyLevel> natural_levels(const Topology& topology, Exchange exchange) {
  std::vector<HierarchyLevel> levels;
  for (const int size : topology.shape()) levels.push_back({exchange, size});
  return levels;
}

/// A hierarchy with what it loads.
struct Candidate {
  std::vector<HierarchyLevel> levels;
  std::vector<StageLoad> loads;
};

class Tuner {
 public:
  Tuner(Communicator& comm, const Topology& topology, const TunerOptions& options)
      : comm_(comm), topology_(topology), options_(options) {
    report_.tuning = empty_tuning(topology, options);
  }

  TunerReport run() {
    start_ = core::now_seconds();
    list_candidates();
    for (const std::int64_t bytes : options_.sizes) measure_library(bytes);
    if (comm_.size() > 1) {
      if (options_.plans.empty()) calibrate();
      for (const std::int64_t bytes : options_.sizes) tune_size(bytes);
    }
    // A few plans by name fit no model.
    if (samples_.empty() || !options_.plans.empty()) report_.model.links.clear();
    for (PlanResult& r : report_.results) {
      const bool known = !r.plan.library() && !report_.model.links.empty();
      if (known) r.fitted = predict(r.bytes, r.plan, loads_of(r.plan));
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
  /// For one size.
  double fair_share() const {
    return options_.budget_seconds / static_cast<double>(options_.sizes.size());
  }
  double predict(std::int64_t bytes, const PlanChoice& plan,
                 const std::vector<StageLoad>& loads) const;
  std::vector<StageLoad> loads_of(const PlanChoice& plan) const {
    return stage_loads(topology_, Hierarchy(topology_.order, plan.levels));
  }
  bool is_measured(std::int64_t bytes, const PlanChoice& plan) const;
  void list_candidates();
  void measure_library(std::int64_t bytes);
  void measure(std::int64_t bytes, const PlanChoice& plan);
  void calibrate();
  void guess_rates();
  void tune_size(std::int64_t bytes);
  void choose(std::int64_t bytes);

  Communicator& comm_;
  const Topology& topology_;
  const TunerOptions& options_;
  TunerReport report_;
  std::vector<Candidate> candidates_;
  std::vector<Sample> samples_;
  double start_ = 0;
};

std::int64_t segments_of(std::int64_t bytes, const PlanChoice& plan) {
  return plan.segment_bytes > 0 ? (bytes + plan.segment_bytes - 1) / plan.segment_bytes : 1;
}

double Tuner::predict(std::int64_t bytes, const PlanChoice& plan,
                      const std::vector<StageLoad>& loads) const {
  return predict_seconds(report_.model, loads, static_cast<double>(bytes), segments_of(bytes, plan),
                         options_.window);
}

bool Tuner::is_measured(std::int64_t bytes, const PlanChoice& plan) const {
  return std::any_of(report_.results.begin(), report_.results.end(),
                     [&](const PlanResult& r) { return r.bytes == bytes && r.plan == plan; });
}

void Tuner::list_candidates() {
  report_.model.links.assign(topology_.kinds.size() + 1,
                             {kFirstGuess, kFirstGuess, kFirstGuess, kFirstGuess});
  const std::uint64_t order =
      Hierarchy(topology_.order, natural_levels(topology_, Exchange::direct)).sum_signature();
  for (const std::vector<HierarchyLevel>& levels : candidate_levels(topology_)) {
    const Hierarchy hierarchy(topology_.order, levels);
    if (options_.same_bits && hierarchy.sum_signature() != order) continue;
    candidates_.push_back({levels, stage_loads(topology_, hierarchy)});
  }
}

void Tuner::measure_library(std::int64_t bytes) {
  const core::Tensor x = buffer(bytes);
  const TimingLimits limits{kLeast, kMost, fair_share() * kShareOfOne};
  report_.results.push_back(
      {bytes, {}, time_together(comm_, limits, [&] { comm_.all_reduce(x, ReduceOp::sum); })});
}

void Tuner::measure(std::int64_t bytes, const PlanChoice& plan) {
  if (is_measured(bytes, plan)) return;
  const core::Tensor x = buffer(bytes);
  const auto sums = make_runner(comm_, topology_, plan, options_.wire, options_.window);
  const TimingLimits limits{kLeast, kMost, fair_share() * kShareOfOne};
  PlanResult result{bytes, plan, {}};
  const std::vector<StageLoad> loads = loads_of(plan);
  if (options_.plans.empty()) result.predicted = predict(bytes, plan, loads);
  result.measured = time_together(comm_, limits, [&] { sums->start(x).wait(); });
  report_.results.push_back(result);
  samples_.push_back({loads, static_cast<double>(bytes), segments_of(bytes, plan), options_.window,
                      result.measured.median});
}

// A few plans that between them show every parameter: the levels of the machine and all ranks as
// one level, by ring and by direct exchange, whole and in segments, large and small.
void Tuner::calibrate() {
  const auto [least, most] = std::minmax_element(options_.sizes.begin(), options_.sizes.end());
  std::vector<PlanChoice> plans;
  for (const Exchange exchange : {Exchange::ring, Exchange::direct}) {
    plans.push_back({natural_levels(topology_, exchange), 0});
    plans.push_back({{{exchange, comm_.size()}}, 0});
  }
  for (PlanChoice& plan : plans) {
    for (HierarchyLevel& level : plan.levels) {
      if (level.size == 2) level.exchange = Exchange::direct;  // as in the list of candidates
    }
    const auto listed = std::any_of(candidates_.begin(), candidates_.end(),
                                    [&](const Candidate& c) { return c.levels == plan.levels; });
    if (!listed) continue;
    for (const std::int64_t bytes : {*least, *most}) {  // the large ones count in guess_rates
      for (const std::int64_t segments : {std::int64_t{1}, kCalibrationSegments}) {
        plan.segment_bytes = segments == 1 ? 0 : (bytes + segments - 1) / segments;
        if (segments == 1 || plan.segment_bytes >= kSmallestSegment) measure(bytes, plan);
      }
    }
  }
  for (PlanResult& r : report_.results) {
    r.calibration = !r.plan.library();
    r.predicted = 0;
  }
  guess_rates();
  report_.model = fit_model(report_.model, samples_);
}

// Where the fit begins: as if the network alone took the time of one level of all ranks, and what
// is inside a node were much faster.
void Tuner::guess_rates() {
  for (const Sample& s : samples_) {
    if (s.loads.size() != 1) continue;
    const StageLoad& load = s.loads.front();
    const bool network = !load.door.empty();
    const double bytes = 2 * s.bytes * (network ? load.door.front() : load.port);
    for (std::size_t c = 0; c < report_.model.links.size(); ++c) {
      LinkModel& link = report_.model.links[c];
      LinkCost& cost = load.exchange == Exchange::ring ? link.ring : link.direct;
      const double inside = network && c == 0 ? kInsideFaster : 1;
      (s.segments == 1 ? cost.alone : cost.busy) = s.seconds / bytes / inside;
    }
  }
}

void Tuner::tune_size(std::int64_t bytes) {
  const double until = spent() + fair_share();
  const bool named = !options_.plans.empty(), all = options_.exhaustive || named;
  std::vector<std::pair<double, PlanChoice>> plans;  // with their predicted seconds
  for (const PlanChoice& plan : options_.plans) {
    if (!plan.library()) plans.emplace_back(0, plan);
  }
  for (std::size_t c = 0; !named && c < candidates_.size(); ++c) {
    for (const std::int64_t segments : kSegments) {
      const std::int64_t segment = (bytes + segments - 1) / segments;
      if (segments > 1 && segment < kSmallestSegment) break;
      const PlanChoice plan{candidates_[c].levels, segments == 1 ? 0 : segment};
      plans.emplace_back(predict(bytes, plan, candidates_[c].loads), plan);
    }
  }
  report_.plans += static_cast<std::int64_t>(plans.size());
  std::stable_sort(plans.begin(), plans.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  const std::size_t wanted =
      all ? plans.size()
          : std::max(kFewestMeasured,
                     static_cast<std::size_t>(kShareMeasured * static_cast<double>(plans.size())));
  for (std::size_t i = 0; i < std::min(wanted, plans.size()); ++i) {
    if (!all && i > 0 && spent() > until) break;
    measure(bytes, plans[i].second);
  }
  if (!all) report_.model = fit_model(report_.model, samples_);
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
