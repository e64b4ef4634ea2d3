// SPDX-License-Identifier: MIT
// Memory that kernels need between their input and their output (packed weights, padded strips,
// partial sums): grown on first use, then kept, so that a step in steady state allocates nothing.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/tensor.hpp"

namespace isaribi::simd {

/// Named uses; a use holds one block per thread (or one block, shared, as thread 0).
enum class Use : std::uint8_t {
  weights,
  bias,
  strip,
  partial,
  sums,
  channels,
  result,
  turned,
  count_
};

class Scratch {
 public:
  /// Makes room for `threads` threads. Call outside parallel regions.
  void reserve_threads(int threads) {
    if (static_cast<int>(blocks_.size()) < threads) {
      blocks_.resize(static_cast<std::size_t>(threads));
    }
  }
  /// At least `count` elements of T, aligned to 64 bytes, contents undefined; valid until the next
  /// call for the same use and thread. Each thread may ask for its own blocks inside a parallel
  /// region.
  template <typename T>
  T* get(Use use, std::int64_t count, int thread = 0) {
    core::Tensor& block =
        blocks_[static_cast<std::size_t>(thread)].of[static_cast<std::size_t>(use)];
    const auto bytes = count * static_cast<std::int64_t>(sizeof(T)) + 64;
    if (!block.defined() || block.count() < bytes) {
      block = core::Tensor({bytes + bytes / 4}, core::DType::u8);
    }
    return static_cast<T*>(block.raw());
  }

 private:
  struct alignas(64) Blocks {  // one cache line per thread at least: no false sharing
    std::array<core::Tensor, static_cast<std::size_t>(Use::count_)> of;
  };
  std::vector<Blocks> blocks_{1};
};

}  // namespace isaribi::simd
