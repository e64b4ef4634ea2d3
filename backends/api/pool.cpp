// SPDX-License-Identifier: MIT
#include "backends/api/pool.hpp"

#include "backends/api/check.hpp"

namespace isaribi::api {
namespace {

void check_shapes(const Check& check, const core::Tensor& x, const core::Tensor& y,
                  const PoolGeometry& g) {
  check.floating("x (or dx)", x);
  check.type("y (or dy)", y, x.dtype());
  check.rank("x (or dx)", x, 4);
  check.require(g.kernel_h >= 1 && g.kernel_w >= 1 && g.stride_h >= 1 && g.stride_w >= 1,
                "kernel and stride must be at least 1");
  check.require(g.pad_top >= 0 && g.pad_left >= 0 && g.pad_bottom >= 0 && g.pad_right >= 0,
                "padding must not be negative");
  check.require(g.pad_top < g.kernel_h && g.pad_bottom < g.kernel_h && g.pad_left < g.kernel_w &&
                    g.pad_right < g.kernel_w,
                "padding must be smaller than the kernel: a window would lie outside the image");
  const core::Shape& s = x.shape();
  const std::int64_t p = g.out_h(s[1]), q = g.out_w(s[2]);
  check.require(s[1] + g.pad_top + g.pad_bottom >= g.kernel_h &&
                    s[2] + g.pad_left + g.pad_right >= g.kernel_w,
                "the window is larger than the padded input");
  check.shape("y (or dy)", y, {s[0], p, q, s[3]});
}

void check_global(const Check& check, const core::Tensor& x, const core::Tensor& y) {
  check.floating("x (or dx)", x);
  check.type("y (or dy)", y, x.dtype());
  check.rank("x (or dx)", x, 4);
  check.shape("y (or dy)", y, {x.shape()[0], x.shape()[3]});
}

}  // namespace

void PoolOps::max_forward(const MaxPoolForward& a) {
  const Check check(Op::max_pool_forward);
  check_shapes(check, a.x, a.y, a.geometry);
  check.type("argmax", a.argmax, core::DType::i32);
  check.shape("argmax", a.argmax, a.y.shape());
  do_max_forward(a);
}

void PoolOps::max_backward(const MaxPoolBackward& a) {
  const Check check(Op::max_pool_backward);
  check_shapes(check, a.dx, a.dy, a.geometry);
  check.type("argmax", a.argmax, core::DType::i32);
  check.shape("argmax", a.argmax, a.dy.shape());
  do_max_backward(a);
}

void PoolOps::average_forward(const AveragePoolForward& a) {
  check_shapes(Check(Op::average_pool_forward), a.x, a.y, a.geometry);
  do_average_forward(a);
}

void PoolOps::average_backward(const AveragePoolBackward& a) {
  check_shapes(Check(Op::average_pool_backward), a.dx, a.dy, a.geometry);
  do_average_backward(a);
}

void PoolOps::global_average_forward(const GlobalAverageForward& a) {
  check_global(Check(Op::global_average_forward), a.x, a.y);
  do_global_average_forward(a);
}

void PoolOps::global_average_backward(const GlobalAverageBackward& a) {
  check_global(Check(Op::global_average_backward), a.dx, a.dy);
  do_global_average_backward(a);
}

}  // namespace isaribi::api
