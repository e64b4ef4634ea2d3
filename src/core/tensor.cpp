// SPDX-License-Identifier: MIT
#include "core/tensor.hpp"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>

#include "core/error.hpp"

namespace isaribi::core {
namespace {

constexpr std::size_t kAlignment = 64;
constexpr std::size_t kHugePage = std::size_t{2} << 20;

class HostMemory final : public MemoryResource {
 public:
  Device device() const override { return {}; }

  void* allocate(std::size_t bytes) override {
    const std::size_t alignment = bytes >= kHugePage ? kHugePage : kAlignment;
    const std::size_t size =
        (bytes + alignment) / alignment * alignment;  // >= 1 block: 0 bytes get an address
    void* pointer = std::aligned_alloc(alignment, size);
    if (pointer == nullptr) {
      throw Error(ExitCode::internal,
                  "out of host memory: " + std::to_string(bytes) + " bytes were asked for",
                  "lower data/batch, or use more ranks (isaribi plan shows the memory per rank)");
    }
    if (alignment == kHugePage)
      madvise(pointer, size, MADV_HUGEPAGE);  // advice only: failure is harmless
    return pointer;
  }

  void deallocate(void* pointer, std::size_t) noexcept override { std::free(pointer); }
};

}  // namespace

MemoryResource& host_memory() {
  static HostMemory memory;
  return memory;
}

Tensor::Tensor(Shape shape, DType type, MemoryResource& memory)
    : shape_(shape), type_(type), device_(memory.device()) {
  const std::size_t size = bytes();
  data_ = memory.allocate(size);
  owner_ = std::shared_ptr<void>(data_, [&memory, size](void* p) { memory.deallocate(p, size); });
}

Tensor Tensor::borrow(void* data, Shape shape, DType type, Device device) {
  Tensor t;
  t.data_ = data;
  t.shape_ = shape;
  t.type_ = type;
  t.device_ = device;
  return t;
}

Tensor Tensor::zeros(Shape shape, DType type) {
  Tensor t(shape, type);
  std::memset(t.raw(), 0, t.bytes());
  return t;
}

Tensor Tensor::reshaped(Shape shape) const {
  if (shape.count() != count()) throw ShapeError("reshape", shape_.text(), shape.text());
  Tensor t = *this;
  t.shape_ = shape;
  return t;
}

Tensor Tensor::rows(std::int64_t begin, std::int64_t end) const {
  if (begin < 0 || end < begin || end > shape_[0]) {
    throw InternalError("rows " + std::to_string(begin) + " to " + std::to_string(end) + " of " +
                        shape_.text());
  }
  return slice(begin * shape_.count_per_sample(), shape_.with_batch(end - begin));
}

Tensor Tensor::slice(std::int64_t offset, Shape shape) const {
  if (offset < 0 || offset + shape.count() > count()) {
    throw InternalError("slice of " + shape.text() + " at " + std::to_string(offset) + " of " +
                        shape_.text());
  }
  Tensor t = *this;
  t.data_ = static_cast<std::byte*>(data_) + static_cast<std::size_t>(offset) * size_of(type_);
  t.shape_ = shape;
  return t;
}

void Tensor::require_type(DType wanted) const {
  if (wanted != type_) {
    throw InternalError("tensor " + shape_.text() + " holds " + std::string(name_of(type_)) +
                        ", asked as " + std::string(name_of(wanted)));
  }
}

}  // namespace isaribi::core
