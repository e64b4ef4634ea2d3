// SPDX-License-Identifier: MIT
#include "app/verbs/plan_kfac.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "core/timer.hpp"
#include "optim/kfac/build.hpp"

namespace isaribi::app {
namespace {

namespace kfac = optim::kfac;

/// Floating-point operations per second of a product of 512 x 512 matrices in f32.
double product_rate(api::Backend& backend) {
  constexpr std::int64_t n = 512;
  const core::Tensor a = backend.make({n, n}, core::DType::f32),
                     c = backend.make({n, n}, core::DType::f32);
  backend.elementwise().fill({.y = a, .value = 0.5});
  double best = 1e30;
  for (int turn = 0; turn < 3; ++turn) {
    const double start = core::now_seconds();
    backend.linalg().gemm({.a = a, .b = a, .c = c});
    backend.synchronize();
    best = std::min(best, core::now_seconds() - start);
  }
  return 2.0 * n * n * n / best;
}

kfac::Kind kind_of(const std::string& name) {
  return name == "ekfac" ? kfac::Kind::ekfac : name == "foof" ? kfac::Kind::foof : kfac::Kind::kfac;
}

double width(const kfac::Statistic& s) {
  return s.exists() ? static_cast<double>(s.shape[1]) : 0;
}

/// Operations of the factors of one layer for `samples` samples: half of 2 n D^2, by symmetry.
double factor_operations(const kfac::Block& b, double samples) {
  if (!b.affine()) return 6.0 * samples * static_cast<double>(b.positions * b.shape.outputs);
  return samples * static_cast<double>(b.positions * b.shape.groups) *
         (width(b.a) * width(b.a) + width(b.g) * width(b.g));
}

double direction_operations(const kfac::Block& b) {
  if (!b.affine()) return 0;
  const double rows = static_cast<double>(b.shape.outputs),
               columns = static_cast<double>(b.columns());
  return 2.0 * static_cast<double>(b.shape.groups) * rows * columns * (rows + columns);
}

std::string dims_text(const kfac::Statistic& s) {
  if (!s.exists()) return "-";
  const std::string square = fmt::format("{0} x {0}", s.shape[1]);
  if (s.form == kfac::Statistic::Form::norm) return fmt::format("{} of 2 x 2", s.shape[1]);
  return s.shape[0] == 1 ? square : fmt::format("{} of {}", s.shape[0], square);
}

}  // namespace

std::string bytes_text(double bytes) {
  const char* units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  std::size_t unit = 0;
  while (bytes >= 1024 && unit < 4) {
    bytes /= 1024;
    ++unit;
  }
  return unit == 0 ? fmt::format("{:.0f} B", bytes) : fmt::format("{:.2f} {}", bytes, units[unit]);
}

void kfac_table(const nn::Graph& graph, const train::Config& config, int ranks,
                std::int64_t samples, double gigabytes, api::Backend& backend, core::Log& log) {
  const kfac::Kind kind = kind_of(config.optimizer.kind);
  const optim::KfacSettings s = kfac::resolved(kind, config.kfac);
  const std::vector<nn::CurvedLayer> layers = graph.curved_layers();
  std::vector<kfac::Block> blocks = kfac::make_blocks(kind, layers);
  const kfac::InverseCost cost = kfac::InverseCost::measure(backend);
  std::vector<double> costs;
  for (const kfac::Block& b : blocks) costs.push_back(cost.seconds(b));
  const kfac::Placement placement =
      kfac::place(kfac::parse_scheme(s.placement), s.hybrid_fraction, costs, ranks);

  log.info("\n{} on {} ranks, placement {}: {} rank(s) hold each inverse", config.optimizer.kind,
           ranks, s.placement, placement.workers);
  log.info("  {:<24} {:<22} {:<16} {:>12} {:>7}", "layer", "A", "G", "inversion", "owner");
  std::vector<double> load(static_cast<std::size_t>(ranks), 0.0);
  double factors = 0, directions = 0, gradient = 0;
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    kfac::Block& b = blocks[i];
    b.owner = placement.owner[i];
    load[static_cast<std::size_t>(b.owner)] += costs[i];
    factors += factor_operations(b, static_cast<double>(samples));
    directions += direction_operations(b);
    log.info("  {:<24} {:<22} {:<16} {:>9.2f} ms {:>7}", b.name, dims_text(b.a), dims_text(b.g),
             1e3 * costs[i], b.owner);
  }
  gradient = static_cast<double>(graph.parameter_count()) *
             static_cast<double>(core::size_of(core::parse_dtype(config.train.gradient_type)));
  kfac::Sizes most;
  for (int r = 0; r < ranks; ++r) {
    const kfac::Sizes mine = kfac::sizes_of(blocks, placement, r, s, core::DType::f32);
    if (mine.statistics + mine.averages + mine.inverses >
        most.statistics + most.averages + most.inverses)
      most = mine;
  }
  const std::string packed =
      most.packed > 0
          ? fmt::format(" (about {} more where products pack them)", bytes_text(most.packed))
          : "";
  log.info("  memory of the fullest rank: sums {}, averages {}, inverses {}{}, directions {}",
           bytes_text(most.statistics), bytes_text(most.averages), bytes_text(most.inverses),
           packed, bytes_text(most.directions));
  const kfac::WireBytes wire = kfac::wire_bytes(placement, gradient, most.wire_directions,
                                                most.wire_factors, most.wire_inverses);
  log.info(
      "  sent by a rank: gradients {}, directions {} per step; factors {} per renewal, inverses {} "
      "per renewal",
      bytes_text(wire.gradient), bytes_text(wire.direction), bytes_text(wire.factors),
      bytes_text(wire.inverses));
  const double rate = product_rate(backend), every = static_cast<double>(s.factor_every),
               inverse_every = static_cast<double>(s.inverse_every);
  const double share = static_cast<double>(placement.workers) / ranks;
  const double compute = factors / rate / every +
                         *std::max_element(load.begin(), load.end()) / inverse_every +
                         directions * share / rate;
  const double exchange =
      (wire.gradient + wire.direction + wire.factors / every + wire.inverses / inverse_every) /
      (gigabytes * 1e9);
  log.info(
      "  predicted per step beside forward and backward: {:.2f} ms of computation (products at "
      "{:.0f} GFLOP/s here), {:.2f} ms of exchange at {} GB/s if nothing hides it",
      1e3 * compute, rate / 1e9, 1e3 * exchange, gigabytes);
}

}  // namespace isaribi::app
