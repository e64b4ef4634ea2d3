// SPDX-License-Identifier: MIT
// How samples of a batch, or rows of a weight, are cut among ranks.
#pragma once

#include <cstdint>
#include <utility>

namespace isaribi::comm {

/// First and past-the-last position of `rank` among `size` positions over `ranks` ranks:
/// contiguous, sizes differ by at most one, in rank order.
inline std::pair<std::int64_t, std::int64_t> rank_slice(std::int64_t size, int rank, int ranks) {
  return {size * rank / ranks, size * (rank + 1) / ranks};
}

}  // namespace isaribi::comm
