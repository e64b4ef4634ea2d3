// SPDX-License-Identifier: MIT
// The one loop of the elementwise kernels: a body is called once per element index.
#pragma once

#include <algorithm>
#include <cstdint>

#include "backends/cuda/check.hpp"
#include "core/dtype.hpp"
#include "core/error.hpp"

namespace isaribi::cuda {

template <typename Body>
__global__ void for_each_kernel(std::int64_t count, Body body) {
  const std::int64_t stride = std::int64_t{gridDim.x} * blockDim.x;
  for (std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += stride)
    body(i);
}

/// Enqueues body(i) for i in [0, count), in no particular order.
template <typename Body>
void for_each(std::int64_t count, const Body& body, cudaStream_t stream, const char* what) {
  if (count == 0) return;  // a grid of size 0 is an error to CUDA
  constexpr std::int64_t kThreads = 256, kMaxBlocks = 65536;
  const std::int64_t blocks = std::min(kMaxBlocks, (count + kThreads - 1) / kThreads);
  for_each_kernel<<<static_cast<unsigned>(blocks), kThreads, 0, stream>>>(count, body);
  check(cudaGetLastError(), what);
}

/// Calls use(float{}) or use(double{}) for the element type of a tensor.
template <typename Use>
void with_real(core::DType type, const Use& use) {
  switch (type) {
    case core::DType::f32:
      return use(float{});
    case core::DType::f64:
      return use(double{});
    default:
      throw core::InternalError("cuda: element type " + std::string(core::name_of(type)));
  }
}

}  // namespace isaribi::cuda
