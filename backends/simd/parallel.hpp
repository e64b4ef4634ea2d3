// SPDX-License-Identifier: MIT
// How the drivers cut ranges and use OpenMP: shares of a range, one team, nothing else.
#pragma once

#include <omp.h>

#include <algorithm>
#include <atomic>
#include <cstdint>

namespace isaribi::simd {

/// A half-open range.
struct Range {
  std::int64_t begin = 0, end = 0;
};

inline std::int64_t round_up(std::int64_t n, std::int64_t to) {
  return (n + to - 1) / to * to;
}

/// Share `part` of `parts` of [0, n), cut at multiples of `grain`.
inline Range share(std::int64_t n, int part, int parts, std::int64_t grain = 1) {
  const std::int64_t grains = (n + grain - 1) / grain;
  return {std::min(n, grains * part / parts * grain),
          std::min(n, grains * (part + 1) / parts * grain)};
}

/// Work too small to wake other threads for, in elements touched.
inline constexpr std::int64_t kSerialBelow = 16384;

/// body(range) on each thread's share of [0, n); serial when `work` (elements touched) is small.
template <class Body>
void parallel_ranges(std::int64_t n, std::int64_t work, std::int64_t grain, const Body& body) {
  if (work < kSerialBelow || omp_get_max_threads() == 1) {
    if (n > 0) body(Range{0, n});
    return;
  }
#pragma omp parallel
  {
    const Range r = share(n, omp_get_thread_num(), omp_get_num_threads(), grain);
    if (r.begin < r.end) body(r);
  }
}

/// As parallel_ranges, but threads take one range after another, ever shorter ones of at least
/// `grain` (Polychronopoulos and Kuck, "Guided self-scheduling", IEEE Trans. Computers C-36, 1987),
/// so that cores of unequal speed end together. For work whose bits do not depend on who does it.
template <class Body>
void parallel_shares(std::int64_t n, std::int64_t work, std::int64_t grain, const Body& body) {
  if (work < kSerialBelow || omp_get_max_threads() == 1) {
    if (n > 0) body(Range{0, n});
    return;
  }
  std::atomic<std::int64_t> next{0};
#pragma omp parallel
  {
    const std::int64_t rests = 2 * omp_get_num_threads();
    for (std::int64_t begin = next.load(); begin < n;) {
      const std::int64_t end = std::min(n, begin + std::max(grain, (n - begin) / rests));
      if (!next.compare_exchange_weak(begin, end)) continue;
      body(Range{begin, end});
      begin = next.load();
    }
  }
}

}  // namespace isaribi::simd
