// SPDX-License-Identifier: MIT
// How the loops of this backend address a tensor and choose the element type: the two helpers that
// let every operation be written as its formula.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "core/error.hpp"
#include "core/tensor.hpp"

namespace isaribi::reference {

/// A tensor addressed by its indices, row-major: x(n, h, w, c).
template <typename T>
class View {
 public:
  explicit View(const core::Tensor& t) : data_(t.data<T>()) {
    for (int i = 0; i < t.shape().rank(); ++i) extents_[static_cast<std::size_t>(i)] = t.shape()[i];
  }

  template <typename... Index>
  T& operator()(Index... index) const {
    std::int64_t offset = 0;
    std::size_t axis = 0;
    ((offset = offset * extents_[axis++] + index), ...);
    return data_[offset];
  }

 private:
  T* data_;
  std::array<std::int64_t, core::Shape::kMaxRank> extents_{};
};

/// Calls body(T{}) with T = float or double, as `type` says.
template <typename Body>
void with_real(core::DType type, Body&& body) {
  switch (type) {
    case core::DType::f32:
      return body(float{});
    case core::DType::f64:
      return body(double{});
    default:
      throw core::InternalError("an operation on " + std::string(core::name_of(type)) +
                                " passed the checks of the interface");
  }
}

/// All axes but the last as one: [.., C] is rows(t) rows of C channels.
inline std::int64_t channels(const core::Tensor& t) {
  return t.shape().back();
}
inline std::int64_t rows(const core::Tensor& t) {
  std::int64_t product = 1;
  for (int i = 0; i + 1 < t.shape().rank(); ++i) product *= t.shape()[i];
  return product;
}

}  // namespace isaribi::reference
