// SPDX-License-Identifier: MIT
// Which rank does what for which layer. The schemes of the literature are one grid: P ranks stand
// in P / m columns of m ranks (KAISA, Pauloski et al. 2021). A layer has one owner, who gets its
// factors and inverts them; the m ranks of the owner's column share the inverse and precondition;
// every other rank receives the direction from the rank of that column in its own row.
//   mpd       m = 1, and gradients, too, go to owners only (Osawa et al. 2019)
//   mem_opt   m = 1, gradients are summed everywhere
//   comm_opt  m = P
//   hybrid    m = fraction P
//   dp        m = 1, and factors are those of the owner's own samples (Zhang et al. 2022)
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace isaribi::optim::kfac {

enum class Scheme : std::uint8_t { mpd, comm_opt, mem_opt, hybrid, dp };

/// @throws core::UsageError for a name that is none.
Scheme parse_scheme(std::string_view name);

struct Placement {
  Scheme scheme = Scheme::mpd;
  int ranks = 1;
  int workers = 1;         ///< m: ranks that hold each inverse
  std::vector<int> owner;  ///< per layer

  int column(int rank) const { return rank / workers; }
  int row(int rank) const { return rank % workers; }
  int columns() const { return ranks / workers; }
  /// Whether `rank` holds the inverse of `layer` and preconditions with it.
  bool works(int rank, std::size_t layer) const { return column(rank) == column(owner[layer]); }
  /// Whether factors are summed over ranks.
  bool sums_factors() const { return scheme != Scheme::dp; }
  /// Whether gradients go to owners only.
  bool scatters_gradients() const { return scheme == Scheme::mpd && ranks > 1; }
};

/// Heaviest layer first, each to the rank with the least work so far; the same on every rank.
/// @param costs seconds (or any unit) of one inversion per layer
/// @throws core::UsageError when fraction * ranks is not a whole number of ranks that divides them.
Placement place(Scheme scheme, double hybrid_fraction, std::span<const double> costs, int ranks);

/// Bytes that the busiest rank sends in the collectives of one step, by the formulas of ring or
/// direct exchange: P ranks, reduce-scatter and allgather n (P - 1) / P, allreduce twice that.
struct WireBytes {
  double gradient = 0;   ///< every step
  double direction = 0;  ///< every step
  double factors = 0;    ///< per renewal of factors
  double inverses = 0;   ///< per renewal of inverses
};
/// @param gradient, direction, factors, inverses bytes of all layers, factors and inverses packed
/// as they travel
WireBytes wire_bytes(const Placement& placement, double gradient, double direction, double factors,
                     double inverses);

}  // namespace isaribi::optim::kfac
