// SPDX-License-Identifier: MIT
#include "backends/cuda/memory.hpp"

#include <algorithm>
#include <string>

#include "backends/cuda/check.hpp"
#include "core/error.hpp"

namespace isaribi::cuda {

void* DeviceMemory::allocate(std::size_t bytes) {
  check(cudaSetDevice(device_), "cudaSetDevice");
  void* pointer = nullptr;
  // An empty tensor is defined too, so it gets an address.
  const cudaError_t status = cudaMalloc(&pointer, std::max<std::size_t>(bytes, 1));
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();  // clear it: the caller may go on with less
    std::size_t free = 0, total = 0;
    check(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
    throw core::UsageError("GPU " + std::to_string(device_) + ": cannot allocate " +
                               std::to_string(bytes >> 20) + " MiB (" + std::to_string(free >> 20) +
                               " of " + std::to_string(total >> 20) + " MiB are free)",
                           "use a smaller data/batch, more ranks, or train/micro_batches");
  }
  check(status, "cudaMalloc");
  return pointer;
}

void DeviceMemory::deallocate(void* pointer, std::size_t) noexcept {
  cudaFree(pointer);  // waits for the device, so no queue still uses the block
}

}  // namespace isaribi::cuda
