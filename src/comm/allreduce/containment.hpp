// SPDX-License-Identifier: MIT
// Whether what is fastest on a machine is also fastest on a part of it, cut down to size. Ueno &
// Yokota (CCGrid 2019) found that the best hierarchy at large scale contains the best one at small
// scale, which is what makes small experiments worth anything.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "comm/allreduce/tuner.hpp"

namespace isaribi::comm {

/// A hierarchy contains another when that one, or one as fast within this share, is its inner part.
inline constexpr double kAsFast = 0.03;

/// Levels of a larger machine on `part` of it: from the innermost one on as many as it takes, the
/// last one shrunk.
std::vector<HierarchyLevel> cut_down(const std::vector<HierarchyLevel>& levels,
                                     const Topology& part);

/// One size on one part.
struct Containment {
  std::int64_t bytes = 0;
  int ranks = 0;           ///< of the part
  PlanChoice whole;        ///< fastest hierarchy of the whole machine
  PlanChoice cut;          ///< cut down, with the segment that suits it best
  PlanChoice best;         ///< fastest of the part
  double cut_seconds = 0;  ///< measured on the part, as `best_seconds`
  double best_seconds = 0;
  double behind() const { return cut_seconds / best_seconds - 1; }
  bool holds() const { return behind() <= kAsFast; }
};

/// What was measured on a part.
struct PartReport {
  int ranks = 0;
  std::vector<PlanResult> results;
};

struct ContainmentReport {
  std::vector<Containment> rows;
  std::vector<PartReport> parts;
};

/// Collective over `comm`, whose plans `whole` tells of: tunes a half and a quarter of the nodes
/// (of the ranks, where there is one node) that have more than two ranks. Filled on the ranks of
/// the part, rank 0 among them.
ContainmentReport measure_containment(Communicator& comm, const Topology& topology,
                                      const TunerReport& whole, const TunerOptions& options,
                                      const std::map<std::string, std::string>& rack_of_host);

}  // namespace isaribi::comm
