// SPDX-License-Identifier: MIT
// What every operation of this backend is given: the execution space instance it enqueues on, and
// scratch memory that lives until later operations of the same queue reuse it (safe, because a
// queue runs in order).
#pragma once

#include <Kokkos_Core.hpp>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "core/tensor.hpp"

namespace isaribi::kokkos {

using Space = Kokkos::DefaultExecutionSpace;
using Memory = Space::memory_space;
using Index = std::int64_t;

/// Whether kernels run on the cores of the host: chooses loop shapes, never results.
inline constexpr bool kHost = std::is_same_v<Memory, Kokkos::HostSpace>;

/// Memory of the default execution space; lives as long as the process.
core::MemoryResource& device_memory();

/// A stack of scratch memory. Grows as needed, keeps what it has.
class Workspace {
 public:
  Workspace() = default;
  ~Workspace();
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;

  /// Uninitialised memory for `count` elements until the enclosing Frame ends.
  template <typename T>
  T* take(Index count) {
    return static_cast<T*>(take_bytes(static_cast<std::size_t>(count) * sizeof(T)));
  }

  /// RAII: what is taken during its life returns to the stack at its end.
  class Frame {
   public:
    explicit Frame(Workspace& workspace)
        : workspace_(workspace), chunk_(workspace.chunk_), used_(workspace.used_) {}
    ~Frame() {
      workspace_.chunk_ = chunk_;
      workspace_.used_ = used_;
    }
    Frame(const Frame&) = delete;
    Frame& operator=(const Frame&) = delete;

   private:
    Workspace& workspace_;
    std::size_t chunk_, used_;
  };

 private:
  struct Chunk {
    void* data;
    std::size_t size;
  };
  void* take_bytes(std::size_t bytes);

  std::vector<Chunk> chunks_;
  std::size_t chunk_ = 0;  ///< chunk in use
  std::size_t used_ = 0;   ///< bytes used of it
};

/// One ordered queue of work.
struct Queue {
  Space space;
  Workspace workspace;

  /// Workers that share a kernel in which each has private scratch: threads on a host, resident
  /// teams on a device.
  Index workers() const {
    const Index concurrency = space.concurrency();
    return kHost ? concurrency : (concurrency + 255) / 256;
  }
};

/// Calls f(T{}) with T = float or double as `type` says; the public API has refused other types
/// before.
template <typename F>
auto with_float(core::DType type, F&& f) {
  return type == core::DType::f64 ? f(double{}) : f(float{});
}

/// Reads one value back; waits for the queue.
template <typename T>
T read_back(const Queue& queue, const T* device) {
  T value;
  Kokkos::deep_copy(
      queue.space,
      Kokkos::View<T, Kokkos::HostSpace, Kokkos::MemoryTraits<Kokkos::Unmanaged>>(&value),
      Kokkos::View<const T, Memory, Kokkos::MemoryTraits<Kokkos::Unmanaged>>(device));
  queue.space.fence("read_back");
  return value;
}

}  // namespace isaribi::kokkos
