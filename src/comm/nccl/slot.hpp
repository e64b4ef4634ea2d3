// SPDX-License-Identifier: MIT
// Room for one collective under way.
#pragma once

#include <cstddef>

#include "comm/nccl/check.hpp"

namespace isaribi::comm::nccl {

/// Memory of the device that is current when it is made, as much page-locked memory of the host,
/// and an event. Page-locked, because a copy from or to other memory makes the host wait for all
/// that is in the stream, and ranks that wait there could wait for each other.
class Slot {
 public:
  explicit Slot(std::size_t bytes) : bytes_(bytes) {
    check(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming), "cudaEventCreate");
    check(cudaMalloc(&device_, bytes), "cudaMalloc");
    check(cudaMallocHost(&host_, bytes), "cudaMallocHost");
  }
  ~Slot() {
    cudaFreeHost(host_);
    cudaFree(device_);
    cudaEventDestroy(event_);
  }
  Slot(const Slot&) = delete;
  Slot& operator=(const Slot&) = delete;

  std::byte* device() const { return static_cast<std::byte*>(device_); }
  std::byte* host() const { return static_cast<std::byte*>(host_); }
  std::size_t bytes() const { return bytes_; }
  cudaEvent_t event() const { return event_; }

 private:
  std::size_t bytes_;
  cudaEvent_t event_ = nullptr;
  void *device_ = nullptr, *host_ = nullptr;
};

}  // namespace isaribi::comm::nccl
