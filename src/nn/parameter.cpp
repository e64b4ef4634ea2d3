// SPDX-License-Identifier: MIT
#include "nn/parameter.hpp"

namespace isaribi::nn {

core::Shape Parameter::own_shape() const {
  if (!shards.any()) return shape;
  const std::int64_t rows = shards.rows(shards.rank);
  return shape.rank() == 1 ? core::Shape{rows} : core::Shape{rows, shape.count() / shape[0]};
}

std::vector<std::int64_t> Parameter::own_counts() const {
  std::vector<std::int64_t> counts;
  for (int r = 0; r + 1 < static_cast<int>(shards.cuts.size()); ++r)
    counts.push_back(shards.rows(r) * (shape.count() / shape[0]));
  return counts;
}

core::Tensor Parameter::part(const core::Tensor& whole) const {
  if (node == nullptr) return whole;
  const auto [begin, end] = node->slice(shape[0]);
  return whole.rows(begin, end);
}

comm::NodeMemory* node_memory(std::span<Parameter* const> parameters) {
  for (const Parameter* p : parameters) {
    if (p->node != nullptr) return p->node;
  }
  return nullptr;
}

}  // namespace isaribi::nn
