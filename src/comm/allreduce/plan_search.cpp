// SPDX-License-Identifier: MIT
#include "comm/allreduce/plan_search.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/error.hpp"

namespace isaribi::comm {
namespace {

constexpr std::int64_t kSmallestSegment = std::int64_t{16} << 10;
constexpr std::int64_t kSegments[] = {1, 2, 4, 8, 16, 32, 64};
constexpr double kShareMeasured = 0.1;
constexpr std::int64_t kFewest = 8, kFewestPerSize = 3;
constexpr std::int64_t kMost = 64;        // more teach little, and every fit costs more
constexpr double kCalibration = 2.0 / 3;  // of what is measured, at most
constexpr std::size_t kNews = 6;          // samples to a new one that makes a new fit worth while
constexpr double kLeastError = 0.02;      // of predictions, whatever the samples say
/// Where the fit begins: the orders of magnitude of a cluster.
constexpr LinkCost kFirstGuess{1e-5, 1e-9, 1e-9, 1e-9};
constexpr double kInsideFaster = 10;

std::int64_t segments_of(std::int64_t bytes, const PlanChoice& plan) {
  return plan.segment_bytes > 0 ? (bytes + plan.segment_bytes - 1) / plan.segment_bytes : 1;
}

bool has(const std::vector<HierarchyLevel>& levels, Exchange exchange) {
  return std::any_of(levels.begin(), levels.end(),
                     [&](const HierarchyLevel& l) { return l.exchange == exchange; });
}

/// Of a plan in about so many segments; 0: in one.
std::int64_t segment_bytes(const std::vector<HierarchyLevel>& levels, std::int64_t bytes,
                           std::int64_t segments) {
  const std::int64_t each = (bytes + segments - 1) / segments;
  if (each > largest_segment(levels)) return largest_segment(levels);
  return segments == 1 ? 0 : each;
}

/// Levels of these sizes, one exchange for all; two members: direct, as in candidate_levels.
std::vector<HierarchyLevel> alike(const std::vector<int>& sizes, Exchange exchange) {
  std::vector<HierarchyLevel> levels;
  for (const int size : sizes) levels.push_back({size == 2 ? Exchange::direct : exchange, size});
  return levels;
}

}  // namespace

PlanSearch::PlanSearch(Topology topology, SearchOptions options)
    : topology_(std::move(topology)), options_(std::move(options)) {
  model_.links.assign(topology_.kinds.size() + 1,
                      {kFirstGuess, kFirstGuess, kFirstGuess, kFirstGuess, kFirstGuess});
  if (topology_.ranks() < 2 || options_.sizes.empty()) return;
  list_plans();
  const auto fewest =
      std::max(kFewest, kFewestPerSize * static_cast<std::int64_t>(options_.sizes.size()));
  const auto share = static_cast<std::int64_t>(kShareMeasured * static_cast<double>(plans()));
  allowance_ = std::min(plans(), std::max(fewest, std::min(share, kMost)));
  list_calibration();
}

void PlanSearch::list_plans() {
  std::vector<std::vector<HierarchyLevel>> hierarchies;
  for (std::vector<HierarchyLevel>& levels : candidate_levels(topology_)) {
    if (!allowed(levels)) continue;
    loads_.push_back(stage_loads(topology_, Hierarchy(topology_.order, levels)));
    hierarchies.push_back(std::move(levels));
  }
  for (const std::int64_t bytes : options_.sizes) {
    for (std::size_t h = 0; h < hierarchies.size(); ++h) {
      std::int64_t last = -1;
      for (const std::int64_t segments : kSegments) {
        const std::int64_t segment = segment_bytes(hierarchies[h], bytes, segments);
        if (segments > 1 && segment < kSmallestSegment) break;
        if (segment != last) plans_.push_back({bytes, {hierarchies[h], segment}, h, 0});
        last = segment;
      }
    }
  }
}

bool PlanSearch::allowed(const std::vector<HierarchyLevel>& levels) const {
  if (!options_.shared_memory && has(levels, Exchange::shared)) return false;
  if (!options_.gpus && has(levels, Exchange::nccl)) return false;
  try {
    check_plan(topology_, {levels, 0}, options_.wire);
  } catch (const core::UsageError&) {
    return false;
  }
  if (!options_.same_bits) return true;
  const Hierarchy one_order(topology_.order, alike(topology_.shape(), Exchange::direct));
  return Hierarchy(topology_.order, levels).sum_signature() == one_order.sum_signature();
}

// The levels of the machine, then all ranks as one level, by ring and by direct exchange: large
// buffers whole and in few and many segments, small ones for the latency. Then memory of a node and
// the library, where they may stand; where there are GPUs, these before all else.
void PlanSearch::list_calibration() {
  const auto [least, most] = std::minmax_element(options_.sizes.begin(), options_.sizes.end());
  const std::vector<int> natural = topology_.shape();
  for (const std::vector<int>& sizes : {natural, std::vector<int>{topology_.ranks()}}) {
    const std::vector<HierarchyLevel> ring = alike(sizes, Exchange::ring),
                                      direct = alike(sizes, Exchange::direct);
    std::vector<HierarchyLevel> shared = direct, library = direct, nccl = direct;
    shared.front().exchange = Exchange::shared;
    library.back().exchange = Exchange::library;
    nccl.front().exchange = Exchange::nccl;
    for (const std::int64_t segments : {16, 1}) add_calibration(nccl, *most, segments);
    for (const std::int64_t segments : {16, 1, 8}) {
      add_calibration(ring, *most, segments);
      add_calibration(direct, *most, segments);
    }
    add_calibration(ring, *least, 16);
    add_calibration(direct, *least, 4);
    for (const auto& levels : {shared, library}) {
      for (const std::int64_t segments : {16, 1}) add_calibration(levels, *most, segments);
      add_calibration(levels, *least, 4);
    }
  }
  const auto limit = static_cast<std::size_t>(kCalibration * static_cast<double>(allowance_));
  if (calibration_.size() > limit) calibration_.resize(limit);
}

/// In fewer segments where those would be too small. Nothing where that is no plan, or listed.
void PlanSearch::add_calibration(const std::vector<HierarchyLevel>& levels, std::int64_t bytes,
                                 std::int64_t segments) {
  while (segments > 1 && segment_bytes(levels, bytes, segments) < kSmallestSegment) segments /= 2;
  const PlanChoice plan{levels, segment_bytes(levels, bytes, segments)};
  const auto same = [&](const auto& p) { return p.bytes == bytes && p.plan == plan; };
  if (std::any_of(plans_.begin(), plans_.end(), same) &&
      std::none_of(calibration_.begin(), calibration_.end(), same)) {
    calibration_.push_back({bytes, plan, 0, true});
  }
}

double PlanSearch::predict(std::int64_t bytes, const PlanChoice& plan) const {
  return predict_seconds(model_, stage_loads(topology_, Hierarchy(topology_.order, plan.levels)),
                         static_cast<double>(bytes), segments_of(bytes, plan), options_.window);
}

double PlanSearch::predict(const Plan& p) const {
  return predict_seconds(model_, loads_[p.hierarchy], static_cast<double>(p.bytes),
                         segments_of(p.bytes, p.plan), options_.window);
}

PlanSearch::Trial PlanSearch::trial_of(const Plan& p) const {
  return {p.bytes, p.plan, predict(p), false};
}

std::optional<PlanSearch::Trial> PlanSearch::next() {
  if (named_ >= allowance_) return std::nullopt;
  if (static_cast<std::size_t>(named_) < calibration_.size()) {
    return calibration_[static_cast<std::size_t>(named_++)];
  }
  if (samples_.size() >= fitted_ + std::max<std::size_t>(1, fitted_ / kNews)) fit();
  for (std::size_t tried = 0; tried < options_.sizes.size(); ++tried) {
    // Large ones first: they show what the model misses at the least noise.
    turn_ = (turn_ + options_.sizes.size() - 1) % options_.sizes.size();
    if (auto trial = most_promising(options_.sizes[turn_])) {
      ++named_;
      return trial;
    }
  }
  return std::nullopt;
}

/// None when what was measured is clearly faster than all that is left.
std::optional<PlanSearch::Trial> PlanSearch::most_promising(std::int64_t bytes) const {
  const Plan* best = nullptr;
  double predicted = 0, measured = 0;
  for (const Plan& p : plans_) {
    if (p.bytes != bytes) continue;
    if (p.seconds > 0) {
      if (measured == 0 || p.seconds < measured) measured = p.seconds;
    } else if (const double t = predict(p); best == nullptr || t < predicted) {
      best = &p;
      predicted = t;
    }
  }
  if (best == nullptr) return std::nullopt;
  if (measured > 0 && measured < predicted * (1 - typical_error())) return std::nullopt;
  return trial_of(*best);
}

double PlanSearch::typical_error() const {
  std::vector<double> errors;
  for (const Plan& p : plans_) {
    if (p.seconds > 0) errors.push_back(std::abs(predict(p) / p.seconds - 1));
  }
  std::sort(errors.begin(), errors.end());
  return std::max(kLeastError, errors[errors.size() / 2]);
}

void PlanSearch::measured(const Trial& trial, double seconds) {
  for (Plan& p : plans_) {
    if (p.bytes != trial.bytes || !(p.plan == trial.plan)) continue;
    p.seconds = seconds;
    samples_.push_back({loads_[p.hierarchy], static_cast<double>(p.bytes),
                        segments_of(p.bytes, p.plan), options_.window, seconds});
  }
}

void PlanSearch::fit() {
  guess_rates();
  model_ = fit_model(model_, samples_);
  fitted_ = samples_.size();
}

// Where the fit begins: as if the network alone took the time of each sample, and what is inside a
// node were much faster.
void PlanSearch::guess_rates() {
  model_.links.assign(topology_.kinds.size() + 1,
                      {kFirstGuess, kFirstGuess, kFirstGuess, kFirstGuess, kFirstGuess});
  // Links to what is fastest: all within a node, or, with one node, all but the outermost one.
  const auto near =
      std::min(static_cast<std::size_t>(topology_.kinds_within_node()), topology_.kinds.size());
  for (const Exchange exchange : kExchanges) {
    for (const bool whole : {true, false}) {
      double least = 0;  // of a byte that leaves them
      for (const Sample& s : samples_) {
        const bool fits = std::any_of(s.loads.begin(), s.loads.end(),
                                      [&](const StageLoad& l) { return l.exchange == exchange; });
        double share = 0;
        for (const StageLoad& l : s.loads) share += near == 0 ? l.port : l.door[near - 1];
        const double each = s.seconds / (2 * s.bytes * share);
        if (fits && share > 0 && (s.segments == 1) == whole && (least == 0 || each < least)) {
          least = each;
        }
      }
      if (least == 0) continue;
      for (std::size_t c = 0; c < model_.links.size(); ++c) {
        LinkCost& cost = model_.links[c].of(exchange);
        const double inside = c < near ? kInsideFaster : 1;
        if (whole) cost.alone = least / inside;
        if (!whole) cost.busy = cost.eager = least / inside;
      }
    }
  }
}

std::vector<PlanSearch::Trial> PlanSearch::rest() {
  if (fitted_ != samples_.size()) fit();
  std::vector<Trial> trials;
  for (const Plan& p : plans_) {
    if (p.seconds == 0) trials.push_back(trial_of(p));
  }
  std::stable_sort(trials.begin(), trials.end(), [](const Trial& a, const Trial& b) {
    return std::pair(a.bytes, a.predicted) < std::pair(b.bytes, b.predicted);
  });
  return trials;
}

}  // namespace isaribi::comm
