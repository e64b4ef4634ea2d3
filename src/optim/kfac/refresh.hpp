// SPDX-License-Identifier: MIT
// When a statistic is renewed: at a fixed interval, at one that grows from 1, or at one that
// follows how much the statistic changes (SP-NGD, Osawa et al. 2020).
#pragma once

#include <cstdint>

#include "optim/kfac/settings.hpp"

namespace isaribi::optim::kfac {

/// The times of one statistic. Steps count from 1, and the first is always due.
struct Refresh {
  std::int64_t last = 0;               ///< step of the last renewal; 0: never
  std::int64_t interval = 1;           ///< to the next one
  std::int64_t previous_interval = 1;  ///< before that: Delta_-1 of the adaptive rule
  bool due(std::int64_t step) const { return last == 0 || step >= last + interval; }
};

/// How an averaged statistic relates to what it was at the last two renewals: |X - Y|_F / |Y|_F <
/// kfac/similarity (Osawa et al. 2020, who use no averages).
struct Similarity {
  bool to_last = false;
  bool to_both = false;  ///< counts only with to_last
};

/// Fixed: `every`. Ramp: from 1 to `every`, linear over ramp_steps.
std::int64_t planned_interval(const KfacSettings& settings, std::int64_t every, std::int64_t step);

/// The rule of SP-NGD: not similar to the last one, the interval halves; similar to it only, it
/// stays; similar to both, it grows by the interval before (as Fibonacci numbers do).
std::int64_t adaptive_interval(const Refresh& refresh, Similarity similarity);

}  // namespace isaribi::optim::kfac
