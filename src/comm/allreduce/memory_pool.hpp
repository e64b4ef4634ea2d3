// SPDX-License-Identifier: MIT
// Memory for messages, kept from one to the next: fresh pages would cost more than the sum.
#pragma once

#include <cstdint>
#include <vector>

#include "core/tensor.hpp"

namespace isaribi::comm {

class MemoryPool {
 public:
  /// `source` must outlive the pool and what it gave.
  explicit MemoryPool(core::MemoryResource& source) : source_(source) {}
  /// A u8 tensor of at least `bytes`, not initialised.
  core::Tensor take(std::int64_t bytes);
  /// Takes back what take() gave, or nothing; `memory` is then undefined.
  void give_back(core::Tensor& memory);

 private:
  core::MemoryResource& source_;
  std::vector<core::Tensor> spare_;  ///< smallest first
};

}  // namespace isaribi::comm
