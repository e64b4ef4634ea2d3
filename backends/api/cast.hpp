// SPDX-License-Identifier: MIT
// Conversions between element types and packed forms.
#pragma once

#include "core/tensor.hpp"

namespace isaribi::api {

/// Cast and pack of one backend.
class CastOps {
 public:
  virtual ~CastOps() = default;
  /// y = x converted, any type to any type. To a float: round to nearest even. To an integer: round
  /// to nearest even, then saturate; NaN becomes 0.
  void cast(const core::Tensor& x, const core::Tensor& y);
  /// packed[i (i + 1) / 2 + j] = full[i, j] for j <= i. full: [N, N], packed: [N (N + 1) / 2]; f32
  /// or f64.
  void pack_triangle(const core::Tensor& full, const core::Tensor& packed);
  /// The symmetric matrix whose lower triangle is `packed`.
  void unpack_triangle(const core::Tensor& packed, const core::Tensor& full);

 private:
  virtual void do_cast(const core::Tensor& x, const core::Tensor& y) = 0;
  virtual void do_pack_triangle(const core::Tensor& full, const core::Tensor& packed) = 0;
  virtual void do_unpack_triangle(const core::Tensor& packed, const core::Tensor& full) = 0;
};

}  // namespace isaribi::api
