// SPDX-License-Identifier: MIT
#include "optim/kfac/kfac.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <span>
#include <utility>

#include "core/error.hpp"
#include "core/timer.hpp"
#include "optim/kfac/direction.hpp"
#include "optim/kfac/inverse.hpp"
#include "optim/kfac/packed.hpp"
#include "optim/kinds.hpp"

namespace isaribi::optim::kfac {
namespace {

using core::Tensor;

Placement place_blocks(const KfacSettings& settings, std::vector<Block>& blocks,
                       api::Backend& backend, comm::Communicator& comm) {
  std::vector<double> costs(blocks.size(), 0.0);
  if (comm.size() > 1) {
    const InverseCost cost = InverseCost::agreed(backend, comm);
    for (std::size_t i = 0; i < blocks.size(); ++i) costs[i] = cost.seconds(blocks[i]);
  }
  Placement placement =
      place(parse_scheme(settings.placement), settings.hybrid_fraction, costs, comm.size());
  for (std::size_t i = 0; i < blocks.size(); ++i) blocks[i].owner = placement.owner[i];
  return placement;
}

bool is_finite(const Statistic& s) {
  return s.form == Statistic::Form::symmetric ? moments_finite(s.packed, s.shape[0], s.shape[1])
                                              : all_finite(s.packed);
}

}  // namespace

void check(Kind kind, const KfacSettings& settings, const Subject& subject, int ranks) {
  const std::vector<Block> blocks = make_blocks(kind, subject.layers);
  const Placement placement = place(parse_scheme(settings.placement), settings.hybrid_fraction,
                                    std::vector<double>(blocks.size(), 1.0), ranks);
  if (kind == Kind::ekfac && placement.workers != ranks) {
    throw core::UsageError(
        fmt::format("ekfac projects every sample: each rank needs all eigenvectors, which "
                    "kfac/placement = \"{}\" does not give it",
                    settings.placement),
        "set kfac/placement = \"comm_opt\"");
  }
  static_cast<void>(Damping(settings));
}

Kfac::Kfac(Kind kind, const KfacSettings& settings, double l2, const Subject& subject,
           api::Backend& backend, comm::Communicator& comm)
    : kind_(kind),
      settings_(resolved(kind, settings)),
      l2_(l2),
      parameters_(subject.parameters),
      backend_(backend),
      comm_(comm),
      route_(subject.route),
      outputs_(subject.outputs),
      blocks_(make_blocks(kind, subject.layers)),
      placement_(place_blocks(settings_, blocks_, backend, comm)),
      damping_(settings_) {
  allocate(blocks_, placement_, comm.rank(), settings_, backend);
  if (placement_.workers > 1) column_ = comm.split(placement_.column(comm.rank()));
  if (placement_.columns() > 1) row_ = comm.split(placement_.row(comm.rank()));
  directions_ = zeros_like(parameters_, backend);
  std::vector<Block*> here;
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    if (works(i)) here.push_back(&blocks_[i]);
  }
  // Those that travel to other ranks do so by blocks.
  layer_directions_.emplace(here, row_ ? std::span<const Tensor>{} : directions_, backend);
  tap_ = std::make_unique<Statistics>(blocks_, settings_, placement_, backend, comm, route_);
  for (const nn::CurvedLayer& curved : subject.layers) {
    const auto block = std::find_if(blocks_.begin(), blocks_.end(), [&](const Block& b) {
      return b.shape.weight == curved.curvature->weight;
    });
    tap_->connect(*curved.layer, *curved.curvature,
                  static_cast<std::size_t>(block - blocks_.begin()));
  }
}

std::vector<Kfac::Entry> Kfac::statistics() {
  std::vector<Entry> all;
  for (Block& block : blocks_) {
    for (Statistic* s : {&block.a, &block.g, &block.moments}) {
      if (s->exists()) all.push_back({s, mine(block)});
    }
  }
  return all;
}

Listening Kfac::begin_step(const StepInfo& info) {
  info_ = info;
  listening_ = false;
  for (Block& block : blocks_) {
    for (Statistic* s : {&block.a, &block.g, &block.moments}) {
      s->wanted = s->exists() && s->refresh.due(info.step);
    }
    if (block.inverse.step == 0) block.moments.wanted = false;  // no basis to project on
    listening_ = listening_ || block.a.wanted || block.g.wanted || block.moments.wanted;
  }
  if (!listening_) return {};
  Listening listening{.tap = tap_.get()};
  StepSamples samples{.global = info.samples, .parts = info.parts};
  if (settings_.fisher == "monte_carlo" || settings_.fisher == "curvature_propagation") {
    const bool draw = settings_.fisher == "monte_carlo";
    listening.mode = draw ? api::FisherMode::sample : api::FisherMode::signs;
    listening.passes = samples.draws = settings_.samples;
  } else if (settings_.fisher == "exact") {
    listening.mode = api::FisherMode::column;
    listening.passes = outputs_;
  }
  if (kind_ == Kind::foof) listening.passes = 0;  // norms hear the gradient itself
  samples.passes = std::max<std::int64_t>(1, listening.passes);
  if (listening.passes == 0) samples.draws = 1;
  tap_->begin(samples);
  return listening;
}

std::vector<int> Kfac::gradient_owners() const {
  if (!placement_.scatters_gradients()) return {};
  std::vector<int> owners(parameters_.size(), 0);
  for (const Block& block : blocks_) {
    owners[block.shape.weight->id] = block.owner;
    if (block.shape.bias != nullptr) owners[block.shape.bias->id] = block.owner;
  }
  return owners;
}

// The weight of the past after one more renewal. Adaptive intervals differ, so that it is said for
// kfac/factor_every steps: however often a statistic is renewed, its past fades equally fast.
double Kfac::weight_of_past(const Statistic& s, std::int64_t step) const {
  if (settings_.refresh != "adaptive" || s.updates == 0) return settings_.average;
  const double steps = static_cast<double>(step - s.refresh.last);
  return std::pow(settings_.average, steps / static_cast<double>(settings_.factor_every));
}

// average = e average + (1 - e) new with e = min(1 - 1/k, weight of the past) for the k-th one: the
// first replaces, and the start has no weight later (Martens & Grosse 2015, section 5). SP-NGD
// compares the statistics that it inverts: here the averages, without averages the newest ones.
Similarity Kfac::take(Statistic& s, double correction, std::int64_t step) const {
  const double k = static_cast<double>(s.updates + 1);
  const double keep = std::min(1.0 - 1.0 / k, weight_of_past(s, step));
  const double weight = (1 - keep) * correction;
  if (backend_.memory().device().kind == core::Device::Kind::host) {  // with all its threads
    backend_.elementwise().axpby({.alpha = weight, .x = s.packed, .beta = keep, .y = s.average});
  } else {
    mix(keep, weight, s.packed, s.average);
  }
  if (!s.last.defined()) return {};
  // What is not there yet is 0, which nothing is similar to.
  const Distances d = compare_and_keep(s.average, s.last, s.before_last);
  std::swap(s.last, s.before_last);
  const double bound = settings_.similarity * settings_.similarity;
  return {.to_last = d.to_last < bound * d.last, .to_both = d.to_before < bound * d.before};
}

void Kfac::plan_next(Statistic& s, std::int64_t step, std::int64_t adapted) {
  s.refresh.previous_interval = s.refresh.interval;
  s.refresh.interval = settings_.refresh == "adaptive"
                           ? adapted
                           : planned_interval(settings_, settings_.factor_every, step);
  s.refresh.last = step;
  ++s.updates;
}

// New statistics into the averages of their owners. One reduction tells every rank whether all are
// finite and, with adaptive intervals, when each is due again.
std::string Kfac::renew_statistics(std::int64_t step) {
  if (!listening_) return "";
  const core::Stopwatch watch(cost_.exchange_seconds);
  const std::int64_t sent = tap_->bytes_sent();
  const double used = tap_->finish();
  cost_.factor_bytes += tap_->bytes_sent() - sent;
  const double correction = used > 0 ? static_cast<double>(info_.samples) / used : 1.0;
  const std::vector<Entry> all = statistics();
  const auto n = static_cast<std::int64_t>(all.size());
  const Tensor broken = Tensor::zeros({n}, core::DType::f64);
  for (std::int64_t i = 0; i < n; ++i) {
    const auto& [s, owned] = all[static_cast<std::size_t>(i)];
    if (s->wanted && owned && !is_finite(*s)) broken.data<double>()[i] = 1;
  }
  comm_.all_reduce(broken, comm::ReduceOp::max);
  for (std::int64_t i = 0; i < n; ++i) {
    if (broken.data<double>()[i] > 0)
      return fmt::format("the statistic {} is not finite",
                         all[static_cast<std::size_t>(i)].statistic->name);
  }
  const Tensor intervals = Tensor::zeros({n}, core::DType::f64);
  for (std::int64_t i = 0; i < n; ++i) {
    const auto& [s, owned] = all[static_cast<std::size_t>(i)];
    if (!s->wanted || !owned) continue;
    const Similarity same =
        used > 0 ? take(*s, correction, step) : Similarity{};  // dp: no samples here
    intervals.data<double>()[i] = static_cast<double>(adaptive_interval(s->refresh, same));
  }
  if (settings_.refresh == "adaptive") comm_.all_reduce(intervals, comm::ReduceOp::max);
  for (std::int64_t i = 0; i < n; ++i) {
    Statistic& s = *all[static_cast<std::size_t>(i)].statistic;
    if (s.wanted) plan_next(s, step, static_cast<std::int64_t>(intervals.data<double>()[i]));
  }
  return "";
}

void Kfac::renew_inverses(std::int64_t step) {
  std::vector<std::size_t> renewed;
  bool moments = false;
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    Block& block = blocks_[i];
    const bool fresh = block.a.wanted || block.g.wanted;
    const bool follows = settings_.refresh == "adaptive" || !block.affine();
    const std::int64_t every = planned_interval(settings_, settings_.inverse_every, step);
    const bool due =
        block.inverse.step == 0 || (follows ? fresh : step >= block.inverse.step + every);
    moments = moments || block.moments.wanted;
    if (!due) continue;
    renewed.push_back(i);
    if (mine(block)) {
      const core::Stopwatch watch(cost_.inverse_seconds);
      const bool all = !follows || block.inverse.step == 0;
      const Renewed sides{.a = all || block.a.wanted, .g = all || block.g.wanted};
      invert(block, settings_, damping(), step, sides, backend_);
    }
    block.inverse.step = step;
    if (block.moments.exists()) block.moments.updates = 0;  // they belong to the old basis
  }
  if (!renewed.empty()) {
    share_inverses(renewed);
    layer_directions_->plan();
  }
  if (moments) {
    std::vector<comm::Owned> tensors;
    for (const Block& block : blocks_) {
      if (block.moments.wanted) tensors.push_back({block.moments.average, block.owner});
    }
    cost_.inverse_bytes += comm::share_owned(comm_, tensors, route_);
  }
  divisors_stale_ = divisors_stale_ || moments || !renewed.empty();
  renew_eigen_divisors();
}

// From owners to the other ranks of their columns.
void Kfac::share_inverses(const std::vector<std::size_t>& renewed) {
  if (!column_) return;
  const core::Stopwatch watch(cost_.exchange_seconds);
  std::vector<comm::Owned> tensors;
  for (const std::size_t i : renewed) {
    Inverse& inverse = blocks_[i].inverse;
    if (!works(i)) continue;
    const int owner = placement_.row(blocks_[i].owner);
    for (const Tensor& t :
         {inverse.a, inverse.g, inverse.values_a, inverse.values_g, inverse.norm}) {
      if (t.defined()) tensors.push_back({t, owner});
    }
  }
  cost_.inverse_bytes += comm::share_owned(*column_, tensors, route_);
}

void Kfac::renew_eigen_divisors() {
  if (settings_.inverse != "eigen") return;
  if (!divisors_stale_ && divisor_damping_ == damping()) return;
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    if (blocks_[i].affine() && works(i)) renew_divisors(blocks_[i], damping(), backend_);
  }
  divisor_damping_ = damping();
  divisors_stale_ = false;
}

// Along rows: from the rank whose column works on the layer.
void Kfac::share_directions() {
  const core::Stopwatch watch(cost_.exchange_seconds);
  std::vector<comm::Owned> tensors;
  for (const Block& block : blocks_)
    tensors.push_back({block.direction, placement_.column(block.owner)});
  cost_.direction_bytes += comm::share_owned(*row_, tensors, route_);
}

void Kfac::share_products() {
  const auto n = static_cast<std::int64_t>(blocks_.size());
  const Tensor all = Tensor::zeros({n}, core::DType::f64);
  double* product = all.data<double>();
  for (std::int64_t i = 0; i < n; ++i) {
    const Block& block = blocks_[static_cast<std::size_t>(i)];
    if (mine(block)) product[i] = block.product;
  }
  if (comm_.size() > 1) comm_.all_reduce(all, comm::ReduceOp::sum);  // x + 0: exact in any order
  for (std::int64_t i = 0; i < n; ++i) blocks_[static_cast<std::size_t>(i)].product = product[i];
}

Direction Kfac::precondition(std::int64_t step) {
  Direction result;
  result.tensors = directions_;
  result.refused = renew_statistics(step);
  if (!result.refused.empty()) return result;
  renew_inverses(step);
  {
    const core::Stopwatch watch(cost_.precondition_seconds);
    layer_directions_->run(damping());
  }
  share_products();
  for (const Block& block : blocks_) {
    if (!std::isfinite(block.product)) {  // a direction that is not makes it so
      result.refused = fmt::format("the direction of layer {} is not finite", block.name);
      return result;
    }
    result.product += block.product;
  }
  if (row_) {
    share_directions();
    for (const Block& block : blocks_) hand_out(block, directions_, backend_);
  }
  return result;
}

void Kfac::discard() {
  if (listening_) tap_->finish();
  listening_ = false;
}

// More damping, and at once: inverses made with less would serve until they are due.
void Kfac::refused() {
  damping_.raise();
  for (Block& block : blocks_) block.inverse.step = 0;
}

bool Kfac::wants_trial(std::int64_t step) const {
  return settings_.damping_schedule == "levenberg_marquardt" && step % settings_.lm_every == 0;
}

void Kfac::add_cost(CurvatureCost& cost) {
  cost.factor_bytes += cost_.factor_bytes;
  cost.inverse_bytes += cost_.inverse_bytes;
  cost.direction_bytes += cost_.direction_bytes;
  cost.factor_seconds += tap_->seconds();
  cost.inverse_seconds += cost_.inverse_seconds;
  cost.precondition_seconds += cost_.precondition_seconds;
  cost.exchange_seconds += cost_.exchange_seconds;
  cost.damping = damping();
  tap_->clear_seconds();
  cost_ = {};
}

}  // namespace isaribi::optim::kfac
