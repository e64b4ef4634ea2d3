// SPDX-License-Identifier: MIT
// Which nodes share a bottleneck, from how fast pairs of them talk while all talk at once. Pure:
// rack_measurement.hpp measures.
#pragma once

#include <vector>

namespace isaribi::comm {

/// Rounds of a round-robin tournament (the circle method): in each every player meets one other,
/// over all rounds everybody once. [round][player] is the opponent, -1 where an odd number leaves
/// one out. `seed` deals players to seats, so that different seeds let different pairs meet at
/// once.
std::vector<std::vector<int>> tournament(int players, unsigned seed);

/// The rack of each node, numbered by first appearance; all 0 when rates tell of no racks. `rate`
/// is symmetric, bytes per second of a pair under load; its diagonal counts for nothing.
/// Rates are taken relative to the best of the slower node of the pair, so that a slow node is no
/// rack (nor is one alone in a rack, which looks the same); nodes are joined by average linkage
/// (UPGMA, Sokal & Michener 1958), fastest first, up to the widest gap between one joining and the
/// next. There are no racks when that gap is narrower than a factor of 1.3, or leaves fewer than
/// two racks of several nodes.
std::vector<int> racks_by_rate(const std::vector<std::vector<double>>& rate);

}  // namespace isaribi::comm
