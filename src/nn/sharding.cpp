// SPDX-License-Identifier: MIT
#include "nn/sharding.hpp"

#include "comm/rank_slice.hpp"

namespace isaribi::nn {

bool Sharding::pays(std::int64_t inputs, std::int64_t outputs) const {
  constexpr double kF32 = 4;
  if (ranks == 1 || outputs < rows * ranks || inputs * outputs < smallest) return false;
  const auto weights = static_cast<double>(inputs * outputs);
  const double factors = static_cast<double>(passes * batch) *
                         (static_cast<double>(inputs) + static_cast<double>(outputs) / ranks);
  return kF32 * (factors + weights) < 2 * static_cast<double>(gradient_bytes) * weights;
}

Shards Sharding::of(std::int64_t outputs) const {
  Shards shards{.cuts = {0}, .rank = rank};
  for (int r = 0; r < ranks; ++r) shards.cuts.push_back(comm::rank_slice(outputs, r, ranks).second);
  return shards;
}

}  // namespace isaribi::nn
