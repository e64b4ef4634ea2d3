// SPDX-License-Identifier: MIT
#include "backends/kokkos/queue.hpp"

#include <algorithm>

#include "core/error.hpp"

namespace isaribi::kokkos {
namespace {

constexpr std::size_t kAlignment = 256;
constexpr std::size_t kFirstChunk = std::size_t{1} << 20;

void* allocate_bytes(const char* label, std::size_t bytes) {
  try {
    return Kokkos::kokkos_malloc<Memory>(label, std::max<std::size_t>(bytes, 1));
  } catch (const std::exception& e) {
    throw core::Error(
        core::ExitCode::internal,
        "out of memory of Kokkos space " + std::string(Memory::name()) + ": " +
            std::to_string(bytes) + " bytes were asked for (" + e.what() + ")",
        "lower data/batch, or use more ranks (isaribi plan shows the memory per rank)");
  }
}

class DeviceMemory final : public core::MemoryResource {
 public:
  core::Device device() const override {
    if constexpr (kHost) return {};
    return {core::Device::Kind::cuda, Kokkos::device_id()};
  }
  void* allocate(std::size_t bytes) override { return allocate_bytes("isaribi::tensor", bytes); }
  void deallocate(void* pointer, std::size_t) noexcept override {
    // A tensor may outlive the end of Kokkos (both end with the process); its memory then ends with
    // the process too.
    if (Kokkos::is_initialized()) Kokkos::kokkos_free<Memory>(pointer);
  }
};

}  // namespace

core::MemoryResource& device_memory() {
  static DeviceMemory memory;
  return memory;
}

Workspace::~Workspace() {
  if (!Kokkos::is_initialized()) return;
  Kokkos::fence("isaribi::workspace");
  for (const Chunk& chunk : chunks_) Kokkos::kokkos_free<Memory>(chunk.data);
}

void* Workspace::take_bytes(std::size_t bytes) {
  const std::size_t size = (bytes + kAlignment - 1) / kAlignment * kAlignment;
  while (chunk_ < chunks_.size() && used_ + size > chunks_[chunk_].size) {
    ++chunk_;
    used_ = 0;
  }
  if (chunk_ == chunks_.size()) {
    const std::size_t last = chunks_.empty() ? kFirstChunk / 2 : chunks_.back().size;
    const std::size_t wanted = std::max(size, 2 * last);
    chunks_.push_back({allocate_bytes("isaribi::workspace", wanted), wanted});
    used_ = 0;
  }
  void* pointer = static_cast<std::byte*>(chunks_[chunk_].data) + used_;
  used_ += size;
  return pointer;
}

}  // namespace isaribi::kokkos
