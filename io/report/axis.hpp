// SPDX-License-Identifier: MIT
// The range and the ticks of an axis.
#pragma once

#include <string>
#include <vector>

namespace isaribi::report {

struct Tick {
  double value = 0;
  std::string label;
};

/// Range of an axis with some air around the data, and round ticks inside it.
struct Axis {
  double low = 0, high = 1;
  bool log = false;
  std::vector<Tick> ticks;
  /// Position of `value` between 0 (low) and 1 (high).
  double place(double value) const;
};

/// @param values finite ones count; none gives the range 0 to 1. @param air fraction of the range
/// added at both ends.
Axis make_axis(const std::vector<double>& values, bool log, bool percent, double air,
               int wanted_ticks);

}  // namespace isaribi::report
