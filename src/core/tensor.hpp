// SPDX-License-Identifier: MIT
// A tensor is a shape, an element type and a share of a buffer. It is a handle: copies alias the
// same memory, as the operands of a graph need. Canonical layouts of the program: activations [N,
// H, W, C] (or [N, F]), convolution weights [O, KH, KW, I / groups], linear weights [O, I].
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "core/dtype.hpp"
#include "core/shape.hpp"

namespace isaribi::core {

/// Where memory lives: the host, or GPU number `index`.
struct Device {
  enum class Kind : std::uint8_t { host, cuda };
  Kind kind = Kind::host;
  int index = 0;
  bool operator==(const Device&) const = default;
};

/// Allocates and frees raw memory on one device; backends implement it.
class MemoryResource {
 public:
  virtual ~MemoryResource() = default;
  virtual Device device() const = 0;
  /// At least `bytes` bytes, aligned to 64 or more; `bytes` may be 0. @throws Error on exhaustion.
  virtual void* allocate(std::size_t bytes) = 0;
  virtual void deallocate(void* pointer, std::size_t bytes) noexcept = 0;
};

/// Host memory aligned to 64 bytes; large blocks ask for transparent huge pages and are not
/// touched, so that the threads that use them first place them.
MemoryResource& host_memory();

class Tensor {
 public:
  Tensor() = default;
  /// Uninitialised memory from `memory`, which must outlive the tensor.
  Tensor(Shape shape, DType type, MemoryResource& memory = host_memory());
  /// A tensor over memory owned by someone else (an MPI shared window, a caller's array), never
  /// freed here.
  static Tensor borrow(void* data, Shape shape, DType type, Device device = {});
  /// Host memory, all bytes zero.
  static Tensor zeros(Shape shape, DType type);

  const Shape& shape() const { return shape_; }
  DType dtype() const { return type_; }
  Device device() const { return device_; }
  std::int64_t count() const { return shape_.count(); }
  std::size_t bytes() const { return static_cast<std::size_t>(count()) * size_of(type_); }
  bool defined() const { return data_ != nullptr; }

  /// Untyped address on device().
  void* raw() const { return data_; }
  /// Typed address. @throws InternalError when T is not dtype().
  template <typename T>
  T* data() const {
    require_type(dtype_of<T>);
    return static_cast<T*>(data_);
  }

  /// The same memory under another shape of the same count.
  Tensor reshaped(Shape shape) const;
  /// Rows [begin, end) of the first axis.
  Tensor rows(std::int64_t begin, std::int64_t end) const;
  /// `shape` elements starting `offset` elements into this tensor.
  Tensor slice(std::int64_t offset, Shape shape) const;

 private:
  void require_type(DType wanted) const;

  std::shared_ptr<void> owner_;
  void* data_ = nullptr;
  Shape shape_;
  DType type_ = DType::f32;
  Device device_;
};

/// A tensor with its name in a file or a table: "weights/conv1/weight".
struct NamedTensor {
  std::string name;
  Tensor tensor;
};

}  // namespace isaribi::core
