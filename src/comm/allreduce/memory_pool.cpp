// SPDX-License-Identifier: MIT
#include "comm/allreduce/memory_pool.hpp"

#include <algorithm>
#include <utility>

namespace isaribi::comm {
namespace {

constexpr std::size_t kSpare = 16;

}  // namespace

core::Tensor MemoryPool::take(std::int64_t bytes) {
  const auto fits = std::find_if(spare_.begin(), spare_.end(),
                                 [&](const core::Tensor& t) { return t.count() >= bytes; });
  if (fits == spare_.end()) return core::Tensor({bytes}, core::DType::u8, source_);
  core::Tensor found = std::move(*fits);
  spare_.erase(fits);
  return found;
}

void MemoryPool::give_back(core::Tensor& memory) {
  if (!memory.defined()) return;
  const auto larger = std::find_if(spare_.begin(), spare_.end(), [&](const core::Tensor& t) {
    return t.count() > memory.count();
  });
  spare_.insert(larger, std::exchange(memory, {}));
  if (spare_.size() > kSpare) spare_.erase(spare_.begin());  // the large ones serve everyone
}

}  // namespace isaribi::comm
