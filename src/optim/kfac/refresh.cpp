// SPDX-License-Identifier: MIT
#include "optim/kfac/refresh.hpp"

#include <algorithm>
#include <cmath>

namespace isaribi::optim::kfac {

std::int64_t planned_interval(const KfacSettings& settings, std::int64_t every, std::int64_t step) {
  if (settings.refresh != "ramp") return every;
  const double part =
      std::min(1.0, static_cast<double>(step) /
                        static_cast<double>(std::max<std::int64_t>(1, settings.ramp_steps)));
  return std::max<std::int64_t>(1, std::llround(1 + part * static_cast<double>(every - 1)));
}

std::int64_t adaptive_interval(const Refresh& refresh, Similarity similarity) {
  if (!similarity.to_last) return std::max<std::int64_t>(1, refresh.interval / 2);
  return similarity.to_both ? refresh.interval + refresh.previous_interval : refresh.interval;
}

}  // namespace isaribi::optim::kfac
