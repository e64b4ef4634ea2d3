// SPDX-License-Identifier: MIT
#include "sums.hpp"

// The real ones, under another name.
#define sum_kernels real_sum_kernels
#include "comm/allreduce/sums.cpp"
#undef sum_kernels

namespace isaribi::comm {

SumKernels sum_kernels(core::DType type, core::DType wire);

SumKernels sum_kernels(core::DType type, core::DType wire) {
  const SumKernels real = real_sum_kernels(type, wire);
  if (!scale::leave_out_sums) return real;
  return {[](void*, const void*, std::int64_t) {}, [](const void*, void*, std::int64_t) {},
          [](const void*, void*, std::int64_t) {}};
}

}  // namespace isaribi::comm
