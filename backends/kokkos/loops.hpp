// SPDX-License-Identifier: MIT
// The three loop shapes that most operations have. A body receives a range and loops over it
// itself: on a host the range is long, so that the compiler vectorises the body's loop; on a device
// it is one element, so that neighbouring threads touch neighbouring addresses. Either way each
// element is computed the same.
#pragma once

#include <Kokkos_Core.hpp>
#include <algorithm>

#include "backends/kokkos/queue.hpp"

namespace isaribi::kokkos {

/// x where keep, else 0, as a bit mask: a conditional would become a branch that random signs
/// mispredict, and a product with 0 would keep infinities.
template <typename T>
KOKKOS_INLINE_FUNCTION T keep_if(bool keep, T x) {
  using Bits = std::conditional_t<sizeof(T) == 8, std::uint64_t, std::uint32_t>;
  return Kokkos::bit_cast<T>(Kokkos::bit_cast<Bits>(x) & (Bits{0} - static_cast<Bits>(keep)));
}

inline constexpr Index kGrain = 4096;  ///< elements per range on a host

/// body(begin, end) over a partition of [0, count).
template <typename Body>
void for_elements(const Queue& queue, const char* label, Index count, Body body) {
  const Index grain = kHost ? kGrain : 1;
  Kokkos::parallel_for(
      label,
      Kokkos::RangePolicy<Space, Kokkos::IndexType<Index>>(queue.space, 0,
                                                           (count + grain - 1) / grain),
      KOKKOS_LAMBDA(Index i) { body(i * grain, Kokkos::min((i + 1) * grain, count)); });
}

/// body(row, begin, end) for every row and a partition of its channels [0, channels).
template <typename Body>
void for_rows(const Queue& queue, const char* label, Index rows, Index channels, Body body) {
  if (channels == 0) return;
  const Index grain = kHost ? std::max<Index>(1, kGrain / channels) : 1;  // rows per work item
  const Index parts = kHost ? 1 : channels;                               // work items per row
  Kokkos::parallel_for(
      label,
      Kokkos::RangePolicy<Space, Kokkos::IndexType<Index>>(queue.space, 0,
                                                           (rows + grain - 1) / grain * parts),
      KOKKOS_LAMBDA(Index i) {
        const Index first = i / parts * grain, last = Kokkos::min(first + grain, rows);
        const Index begin = parts == 1 ? 0 : i % parts, end = parts == 1 ? channels : begin + 1;
        for (Index row = first; row < last; ++row) body(row, begin, end);
      });
}

/// Lanes of a channel reduction that one work item keeps in registers.
inline constexpr int kLanes = kHost ? 8 : 1;
/// Rows that a channel reduction sums in one go; fixed, so that the order of additions never
/// depends on threads.
inline constexpr Index kReduceRows = 512;

/// out[s, c] = sum over rows of the s-th value that term(row, c, first, second) gives, s < kSums (1
/// or 2), in f64: over blocks of rows first, then over the blocks in order. out: [kSums, channels].
template <int kSums, typename Term>
void reduce_rows(Queue& queue, const char* label, Index rows, Index channels, double* out,
                 Term term) {
  const Workspace::Frame frame(queue.workspace);
  const Index block_rows = std::max(kReduceRows, (rows + 1023) / 1024);
  const Index blocks = (rows + block_rows - 1) / block_rows;
  const Index parts = (channels + kLanes - 1) / kLanes;
  double* partial = queue.workspace.take<double>(blocks * kSums * channels);
  Kokkos::parallel_for(
      label, Kokkos::RangePolicy<Space, Kokkos::IndexType<Index>>(queue.space, 0, blocks * parts),
      KOKKOS_LAMBDA(Index item) {
        const Index block = item / parts, c0 = item % parts * kLanes;
        const Index first = block * block_rows, last = Kokkos::min(first + block_rows, rows);
        double sums[2][kLanes] = {};
        const auto add_rows = [&](auto lanes) {
          for (Index row = first; row < last; ++row) {
#pragma omp simd
            for (int l = 0; l < lanes; ++l) {
              double a = 0, b = 0;
              term(row, c0 + l, a, b);
              sums[0][l] += a;
              sums[1][l] += b;
            }
          }
        };
        const int lanes = static_cast<int>(Kokkos::min<Index>(kLanes, channels - c0));
        if (lanes == kLanes) {
          add_rows(std::integral_constant<int, kLanes>{});  // a constant trip count vectorises
        } else {
          add_rows(lanes);
        }
        for (int s = 0; s < kSums; ++s) {
          for (int l = 0; l < lanes; ++l)
            partial[(block * kSums + s) * channels + c0 + l] = sums[s][l];
        }
      });
  Kokkos::parallel_for(
      label, Kokkos::RangePolicy<Space, Kokkos::IndexType<Index>>(queue.space, 0, kSums * channels),
      KOKKOS_LAMBDA(Index i) {
        double sum = 0;
        for (Index block = 0; block < blocks; ++block) sum += partial[block * kSums * channels + i];
        out[i] = sum;
      });
}

}  // namespace isaribi::kokkos
