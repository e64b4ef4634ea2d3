// SPDX-License-Identifier: MIT
#include "optim/kfac/placement.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/error.hpp"

namespace isaribi::optim::kfac {
namespace {

int workers_of(Scheme scheme, double fraction, int ranks) {
  if (scheme == Scheme::comm_opt) return ranks;
  if (scheme != Scheme::hybrid || ranks == 1) return 1;
  const double wanted = fraction * ranks;
  const int workers = static_cast<int>(std::lround(wanted));
  if (workers < 1 || std::abs(wanted - workers) > 1e-9 * ranks || ranks % workers != 0) {
    throw core::UsageError(
        fmt::format("kfac/hybrid_fraction = {} of {} ranks is {} ranks, which do not divide {}",
                    fraction, ranks, wanted, ranks),
        "choose a fraction 1/k where k divides the number of ranks");
  }
  return workers;
}

}  // namespace

Scheme parse_scheme(std::string_view name) {
  if (name == "mpd") return Scheme::mpd;
  if (name == "comm_opt") return Scheme::comm_opt;
  if (name == "mem_opt") return Scheme::mem_opt;
  if (name == "hybrid") return Scheme::hybrid;
  if (name == "dp") return Scheme::dp;
  throw core::UsageError(fmt::format("kfac/placement = \"{}\" is not known", name),
                         "use mpd, comm_opt, mem_opt, hybrid or dp");
}

Placement place(Scheme scheme, double hybrid_fraction, std::span<const double> costs, int ranks) {
  Placement p{.scheme = scheme,
              .ranks = ranks,
              .workers = workers_of(scheme, hybrid_fraction, ranks),
              .owner = std::vector<int>(costs.size(), 0)};
  std::vector<std::size_t> order(costs.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return costs[a] > costs[b]; });
  std::vector<double> load(static_cast<std::size_t>(ranks), 0.0);
  for (const std::size_t layer : order) {
    const auto least = std::min_element(load.begin(), load.end());
    p.owner[layer] = static_cast<int>(least - load.begin());
    *least += costs[layer];
  }
  return p;
}

WireBytes wire_bytes(const Placement& placement, double gradient, double direction, double factors,
                     double inverses) {
  const double p = placement.ranks, m = placement.workers, columns = placement.columns();
  const double scatter = (p - 1) / p;
  WireBytes bytes;
  bytes.gradient = gradient * scatter * (placement.scatters_gradients() ? 1 : 2);
  bytes.direction = direction * (columns - 1) / columns;
  bytes.factors = placement.sums_factors() ? factors * scatter : 0;
  bytes.inverses = inverses * (m - 1) / m;
  return bytes;
}

}  // namespace isaribi::optim::kfac
