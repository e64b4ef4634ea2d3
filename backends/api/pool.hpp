// SPDX-License-Identifier: MIT
// Pooling on [N, H, W, C]. Padding never wins a maximum; averages divide by the taps inside the
// image, or by the whole window when count_include_pad is set.
#pragma once

#include <cstdint>

#include "core/tensor.hpp"

namespace isaribi::api {

struct PoolGeometry {
  std::int64_t kernel_h = 2, kernel_w = 2;
  std::int64_t stride_h = 2, stride_w = 2;
  std::int64_t pad_top = 0, pad_left = 0, pad_bottom = 0, pad_right = 0;
  bool count_include_pad = false;  ///< average pooling only
  bool operator==(const PoolGeometry&) const = default;

  /// Output extents; < 1 when the window does not fit.
  std::int64_t out_h(std::int64_t in_h) const {
    return windows(in_h + pad_top + pad_bottom - kernel_h, stride_h);
  }
  std::int64_t out_w(std::int64_t in_w) const {
    return windows(in_w + pad_left + pad_right - kernel_w, stride_w);
  }

 private:
  // Positions of a window that can move by `room`; the division of a negative room would round up.
  static std::int64_t windows(std::int64_t room, std::int64_t stride) {
    return room < 0 ? 0 : room / stride + 1;
  }
};

struct MaxPoolForward {
  core::Tensor x;  ///< [N, H, W, C]
  core::Tensor y;  ///< out: [N, P, Q, C]
  core::Tensor
      argmax;  ///< out: [N, P, Q, C] i32: h * W + w of the first maximum; NaN counts as the maximum
  PoolGeometry geometry;
};

struct MaxPoolBackward {
  core::Tensor dy;      ///< [N, P, Q, C]
  core::Tensor argmax;  ///< [N, P, Q, C] i32
  core::Tensor dx;      ///< out: [N, H, W, C], overlapping windows add up
  PoolGeometry geometry;
};

struct AveragePoolForward {
  core::Tensor x;  ///< [N, H, W, C]
  core::Tensor y;  ///< out: [N, P, Q, C]
  PoolGeometry geometry;
};

struct AveragePoolBackward {
  core::Tensor dy;  ///< [N, P, Q, C]
  core::Tensor dx;  ///< out: [N, H, W, C]
  PoolGeometry geometry;
};

struct GlobalAverageForward {
  core::Tensor x;  ///< [N, H, W, C]
  core::Tensor y;  ///< out: [N, C]
};

struct GlobalAverageBackward {
  core::Tensor dy;  ///< [N, C]
  core::Tensor dx;  ///< out: [N, H, W, C]
};

/// Pooling of one backend. Types: f32 and f64.
class PoolOps {
 public:
  virtual ~PoolOps() = default;
  void max_forward(const MaxPoolForward& args);
  void max_backward(const MaxPoolBackward& args);
  void average_forward(const AveragePoolForward& args);
  void average_backward(const AveragePoolBackward& args);
  void global_average_forward(const GlobalAverageForward& args);
  void global_average_backward(const GlobalAverageBackward& args);

 private:
  virtual void do_max_forward(const MaxPoolForward& args) = 0;
  virtual void do_max_backward(const MaxPoolBackward& args) = 0;
  virtual void do_average_forward(const AveragePoolForward& args) = 0;
  virtual void do_average_backward(const AveragePoolBackward& args) = 0;
  virtual void do_global_average_forward(const GlobalAverageForward& args) = 0;
  virtual void do_global_average_backward(const GlobalAverageBackward& args) = 0;
};

}  // namespace isaribi::api
