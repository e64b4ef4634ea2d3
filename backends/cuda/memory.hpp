// SPDX-License-Identifier: MIT
// Memory of one GPU.
#pragma once

#include "core/tensor.hpp"

namespace isaribi::cuda {

/// Plain cudaMalloc. Not the stream-ordered pool: an MPI that is given pool memory may fail or copy
/// through the host.
class DeviceMemory final : public core::MemoryResource {
 public:
  explicit DeviceMemory(int device) : device_(device) {}
  core::Device device() const override { return {core::Device::Kind::cuda, device_}; }
  void* allocate(std::size_t bytes) override;
  void deallocate(void* pointer, std::size_t bytes) noexcept override;

 private:
  int device_;
};

}  // namespace isaribi::cuda
