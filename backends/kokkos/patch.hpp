// SPDX-License-Identifier: MIT
// A rectangle of one image, copied with zeros outside the image, so that the kernels of a
// convolution need no bounds checks. Small enough for the L2 cache of a core; each worker owns the
// memory of one.
#pragma once

#include "backends/kokkos/queue.hpp"

namespace isaribi::kokkos {

using Team = Kokkos::TeamPolicy<Space>::member_type;

inline constexpr Index kPatchBytes = Index{256} << 10;  ///< aim of the size of a patch

/// patch[r, c, :] = image[top + r, left + c, :] for r < rows, c < columns; image is [height, width,
/// channels].
template <typename T>
KOKKOS_INLINE_FUNCTION void copy_patch(const Team& team, const T* image, Index height, Index width,
                                       Index channels, Index top, Index left, Index rows,
                                       Index columns, T* patch) {
  const Index begin =
      Kokkos::clamp<Index>(-left, 0, columns) * channels;  // elements of a patch row that
  const Index end =
      Kokkos::clamp<Index>(width - left, 0, columns) * channels;  // lie inside the image
  Kokkos::parallel_for(Kokkos::TeamThreadRange(team, rows), [&](Index r) {
    T* to = patch + r * columns * channels;
    const bool inside = top + r >= 0 && top + r < height;
    const Index first = inside ? begin : columns * channels,
                last = inside ? Kokkos::max(begin, end) : first;
    const T* from = image + ((top + r) * width + left) * channels;
    Kokkos::parallel_for(Kokkos::ThreadVectorRange(team, first), [&](Index i) { to[i] = T(0); });
    Kokkos::parallel_for(Kokkos::ThreadVectorRange(team, first, last),
                         [&](Index i) { to[i] = from[i]; });
    Kokkos::parallel_for(Kokkos::ThreadVectorRange(team, last, columns * channels),
                         [&](Index i) { to[i] = T(0); });
  });
}

}  // namespace isaribi::kokkos
