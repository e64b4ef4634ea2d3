// SPDX-License-Identifier: MIT
// Sums of patches over positions: first along the rows of x, once per tap column, then down.
#include "backends/kokkos/patches.hpp"

#include "backends/kokkos/loops.hpp"

namespace isaribi::kokkos {

template <typename T, typename Out>
void patch_sums(Queue& queue, const PatchExtents& e, const T* x, double scale, Out* out) {
  const Workspace::Frame frame(queue.workspace);
  const Index across = e.kw * e.channels;
  double* sums = queue.workspace.take<double>(e.n * e.h * across);  // [n, y, s, channel]
  for_rows(
      queue, "patch_sums", e.n * e.h, across, KOKKOS_LAMBDA(Index row, Index begin, Index end) {
        for (Index i = begin; i < end; ++i) sums[row * across + i] = 0;
        const Index last_tap = (end - 1) / e.channels;
        for (Index s = begin / e.channels; s <= last_tap; ++s) {
          const Index first = Kokkos::max(begin, s * e.channels);
          const Index last = Kokkos::min(end, (s + 1) * e.channels);
          for (Index q = 0; q < e.q; ++q) {
            const Index column = q * e.g.stride_w - e.g.pad_left + s * e.g.dilation_w;
            if (column < 0 || column >= e.w) continue;
            const T* from = x + (row * e.w + column) * e.channels - s * e.channels;
            for (Index i = first; i < last; ++i)
              sums[row * across + i] += static_cast<double>(from[i]);
          }
        }
      });
  const Index groups = e.g.groups;
  for_rows(
      queue, "patch_sums", e.n * groups, e.length,
      KOKKOS_LAMBDA(Index row, Index begin, Index end) {
        const Index n = row / groups, group = row % groups;
        for (Index i = begin; i < end; ++i) {
          double sum = static_cast<double>(e.p * e.q);  // of the constant 1
          if (!e.bias || i < e.length - 1) {
            const Index tap = i / e.per, r = tap / e.kw, s = tap % e.kw;
            const Index channel = s * e.channels + group * e.per + i % e.per;
            sum = 0;
            for (Index p = 0; p < e.p; ++p) {
              const Index y = p * e.g.stride_h - e.g.pad_top + r * e.g.dilation_h;
              if (y >= 0 && y < e.h) sum += sums[(n * e.h + y) * across + channel];
            }
          }
          out[row * e.length + i] = static_cast<Out>(scale * sum);
        }
      });
}

template void patch_sums(Queue&, const PatchExtents&, const float*, double, float*);
template void patch_sums(Queue&, const PatchExtents&, const float*, double, double*);
template void patch_sums(Queue&, const PatchExtents&, const double*, double, double*);

}  // namespace isaribi::kokkos
