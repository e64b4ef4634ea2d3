// SPDX-License-Identifier: MIT
// Runs a FactorPlan.
#pragma once

#include <algorithm>
#include <cstdint>

#include "backends/simd/context.hpp"
#include "backends/simd/factor_plan.hpp"
#include "backends/simd/parallel.hpp"

namespace isaribi::simd {

/// sums[lane][group] += the factor's upper triangle (and its last row when there is a bias), lanes
/// added in order; sums: [lanes, groups, length, length].
struct FactorSums {
  const double* data = nullptr;
  std::int64_t lanes = 1;
};

/// Memory of the sums, and what they are of.
struct SumsSpace {
  double* data;  ///< [lanes, groups, length, length]
  std::int64_t lanes, groups, length;
  bool bias;            ///< the last row is the constant 1,
  std::int64_t pixels;  ///< of which there are so many
};

/// Few operations: a thread by itself.
inline bool team_pays(double operations) {
  return operations >= static_cast<double>(kSerialBelow) && omp_get_max_threads() > 1;
}

/// The sums of the constant 1 times itself, which nobody adds.
inline FactorSums with_ones(const SumsSpace& s) {
  for (std::int64_t g = 0; s.bias && g < s.groups; ++g)
    s.data[(g + 1) * s.length * s.length - 1] = static_cast<double>(s.pixels);
  return {s.data, s.lanes};
}

/// Zeroes the sums, then every thread of a team calls `rounds`, which adds to them.
template <class Rounds>
FactorSums sum_in_team(const SumsSpace& s, double operations, const Rounds& rounds) {
  const std::int64_t size = s.groups * s.length * s.length;
#pragma omp parallel if (team_pays(operations))
  {
    const Range r = share(s.lanes * size, omp_get_thread_num(), omp_get_num_threads());
    std::fill(s.data + r.begin, s.data + r.end, 0.0);
#pragma omp barrier
    rounds();
  }
  return with_ones(s);
}

/// Each lane by one thread, which zeroes its sums and calls body(lane), which adds to them.
template <class Body>
FactorSums sum_by_lanes(const SumsSpace& s, double operations, const Body& body) {
  const std::int64_t size = s.groups * s.length * s.length;
#pragma omp parallel for schedule(dynamic) if (team_pays(operations))
  for (std::int64_t lane = 0; lane < s.lanes; ++lane) {
    std::fill_n(s.data + lane * size, size, 0.0);
    body(lane);
  }
  return with_ones(s);
}

/// The unscaled sums of x over all samples, in scratch memory of the context.
FactorSums run_factor(const FactorPlan& plan, const float* x, Context& context);

}  // namespace isaribi::simd
