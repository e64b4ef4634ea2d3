// SPDX-License-Identifier: MIT
// Runs a FactorPlan.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>

#include "backends/simd/context.hpp"
#include "backends/simd/factor_plan.hpp"
#include "backends/simd/parallel.hpp"

namespace isaribi::simd {

/// sums[lane][group]: the factor's upper triangle (and its last row when there is a bias), lanes to
/// be added in order; [lanes, groups, length, length].
struct FactorSums {
  double* data = nullptr;
  std::int64_t lanes = 1, size = 0;  ///< elements of a lane
};

inline constexpr std::int64_t kMostLanes = 16;

/// Blocks of kSampleBlock samples as they are dealt out, i = 0, 1 .. count - 1: to lane i % lanes,
/// which gets neighbours, the last of them first. That is what its thread's cache holds of what was
/// written in order, each thread writing its share.
struct Blocks {
  std::int64_t lanes, each;
  std::int64_t count() const { return lanes * each; }
  std::int64_t lane(std::int64_t i) const { return i % lanes; }
  std::int64_t first_sample(std::int64_t i) const {
    return (lane(i) * each + each - 1 - i / lanes) * api::kSampleBlock;
  }
};

/// Few operations: a thread by itself.
inline bool team_pays(double operations) {
  return operations >= static_cast<double>(kSerialBelow) && omp_get_max_threads() > 1;
}

/// Zeroes the sums, then every thread of a team calls `rounds`, which adds to them.
template <class Rounds>
FactorSums sum_in_team(const FactorSums& s, double operations, const Rounds& rounds) {
#pragma omp parallel if (team_pays(operations))
  {
    const Range r = share(s.lanes * s.size, omp_get_thread_num(), omp_get_num_threads());
    std::fill(s.data + r.begin, s.data + r.end, 0.0);
#pragma omp barrier
    rounds();
  }
  return s;
}

/// Each lane by one thread, which zeroes its sums and calls body(lane), which adds to them. Threads
/// begin with their share of the lanes, then take what is left.
template <class Body>
FactorSums sum_by_lanes(const FactorSums& s, double operations, const Body& body) {
  std::array<std::atomic_flag, kMostLanes> taken{};
#pragma omp parallel if (team_pays(operations))
  {
    const std::int64_t first = share(s.lanes, omp_get_thread_num(), omp_get_num_threads()).begin;
    for (std::int64_t i = 0; i < s.lanes; ++i) {
      const std::int64_t lane = (first + i) % s.lanes;
      if (taken[static_cast<std::size_t>(lane)].test_and_set()) continue;
      std::fill_n(s.data + lane * s.size, s.size, 0.0);
      body(lane);
    }
  }
  return s;
}

/// The unscaled sums of x over all samples, in scratch memory of the context.
FactorSums run_factor(const FactorPlan& plan, const float* x, Context& context);

}  // namespace isaribi::simd
