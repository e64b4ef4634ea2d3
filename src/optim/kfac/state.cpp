// SPDX-License-Identifier: MIT
// The state of K-FAC in a checkpoint: averaged factors, inverses, their ages and intervals, and
// lambda. Between gather_state and adopt_state every rank holds all of it, whoever owns what, so
// that another number of ranks, or another placement, can go on from it.
#include <algorithm>

#include "core/error.hpp"
#include "optim/kfac/inverse.hpp"
#include "optim/kfac/kfac.hpp"

namespace isaribi::optim::kfac {
namespace {

using core::DType;
using core::Tensor;

constexpr std::int64_t kPerStatistic = 4;  // updates, last, interval, previous interval

void write(const Statistic& s, double* row) {
  row[0] = static_cast<double>(s.updates);
  row[1] = static_cast<double>(s.refresh.last);
  row[2] = static_cast<double>(s.refresh.interval);
  row[3] = static_cast<double>(s.refresh.previous_interval);
}

void read(Statistic& s, const double* row) {
  s.updates = static_cast<std::int64_t>(row[0]);
  s.refresh = {.last = static_cast<std::int64_t>(row[1]),
               .interval = static_cast<std::int64_t>(row[2]),
               .previous_interval = static_cast<std::int64_t>(row[3])};
}

/// One tensor of the state: where it lives (undefined: not on this rank) and how it is named.
struct Piece {
  std::string name;
  Tensor home;
  core::Shape shape;
  DType type;
};

std::vector<Piece> pieces_of(const Block& b, const KfacSettings& settings) {
  std::vector<Piece> list;
  for (const Statistic* s : {&b.a, &b.g, &b.moments}) {
    if (!s->exists()) continue;
    const core::Shape packed{s->packed_count()};
    list.push_back({s->name + "/average", s->average, packed, DType::f64});
    if (settings.refresh != "adaptive") continue;
    list.push_back({s->name + "/last", s->last, packed, DType::f64});
    list.push_back({s->name + "/before_last", s->before_last, packed, DType::f64});
  }
  const Inverse& inverse = b.inverse;
  if (!b.affine()) {
    list.push_back({b.name + "/inverse/fisher", inverse.norm, b.g.shape, DType::f64});
    return list;
  }
  const DType type = b.gradient.dtype();
  list.push_back({b.name + "/inverse/A", inverse.a, b.a.shape, type});
  if (!b.g.exists()) return list;
  list.push_back({b.name + "/inverse/G", inverse.g, b.g.shape, type});
  if (settings.inverse != "eigen") {
    list.push_back({b.name + "/inverse/damping", inverse.damping, {2}, DType::f64});
    return list;
  }
  list.push_back(
      {b.name + "/eigenvalues/A", inverse.values_a, {b.shape.groups, b.columns()}, DType::f64});
  list.push_back(
      {b.name + "/eigenvalues/G", inverse.values_g, {b.shape.groups, b.shape.outputs}, DType::f64});
  return list;
}

}  // namespace

void Kfac::gather_state() {
  state_.clear();
  std::vector<comm::Owned> owned;
  for (const Block& block : blocks_) {
    for (const Piece& piece : pieces_of(block, settings_)) {
      const Tensor copy = Tensor::zeros(piece.shape, piece.type);
      if (mine(block)) backend_.copy(piece.home, copy);
      state_.push_back({"kfac/" + piece.name, copy});
      owned.push_back({copy, block.owner});
    }
  }
  backend_.synchronize();
  comm::share_owned(comm_, owned, route_);
  const std::vector<Entry> all = statistics();
  const auto rows = static_cast<std::int64_t>(all.size());
  const Tensor times = Tensor::zeros({rows, kPerStatistic}, DType::f64);
  for (std::int64_t i = 0; i < rows; ++i)
    write(*all[static_cast<std::size_t>(i)].statistic, times.data<double>() + i * kPerStatistic);
  const auto n = static_cast<std::int64_t>(blocks_.size());
  const Tensor inverted = Tensor::zeros({n}, DType::f64), lambda = Tensor::zeros({1}, DType::f64);
  for (std::int64_t i = 0; i < n; ++i) {
    inverted.data<double>()[i] =
        static_cast<double>(blocks_[static_cast<std::size_t>(i)].inverse.step);
  }
  lambda.data<double>()[0] = damping_.value();
  state_.push_back({"kfac/statistic_times", times});
  state_.push_back({"kfac/inverse_steps", inverted});
  state_.push_back({"kfac/damping", lambda});
}

std::vector<core::NamedTensor> Kfac::state() {
  if (state_.empty()) throw core::InternalError("the state of K-FAC was not gathered");
  return state_;
}

void Kfac::adopt_state() {
  std::size_t at = 0;
  for (const Block& block : blocks_) {
    for (const Piece& piece : pieces_of(block, settings_)) {
      if (piece.home.defined()) backend_.copy(state_[at].tensor, piece.home);
      ++at;
    }
  }
  backend_.synchronize();
  layer_directions_->plan();
  const std::vector<Entry> all = statistics();
  const double* row = state_[at].tensor.data<double>();
  for (const Entry& entry : all) {
    read(*entry.statistic, row);
    row += kPerStatistic;
  }
  const double* steps = state_[at + 1].tensor.data<double>();
  for (Block& block : blocks_) block.inverse.step = static_cast<std::int64_t>(*steps++);
  damping_.set(state_[at + 2].tensor.data<double>()[0]);
  divisors_stale_ = true;
  state_.clear();
}

}  // namespace isaribi::optim::kfac
