// SPDX-License-Identifier: MIT
#include "backends/api/conv.hpp"

#include "backends/api/check.hpp"

namespace isaribi::api {
namespace {

// x: [N, H, W, I], w: [O, KH, KW, I / groups], y: [N, P, Q, O] fit together under g. dw may be f64
// where x is f32, so types are checked by the callers.
void check_shapes(const Check& check, const core::Tensor& x, const core::Tensor& w,
                  const core::Tensor& y, const ConvGeometry& g) {
  check.rank("x (or dx)", x, 4);
  check.rank("w (or dw)", w, 4);
  const core::Shape &xs = x.shape(), &ws = w.shape();
  check.require(
      g.stride_h >= 1 && g.stride_w >= 1 && g.dilation_h >= 1 && g.dilation_w >= 1 && g.groups >= 1,
      "stride, dilation and groups must be at least 1");
  check.require(g.pad_top >= 0 && g.pad_left >= 0 && g.pad_bottom >= 0 && g.pad_right >= 0,
                "padding must not be negative");
  check.require(xs[3] % g.groups == 0 && ws[0] % g.groups == 0,
                "groups must divide input and output channels");
  check.shape("w (or dw)", w, {ws[0], ws[1], ws[2], xs[3] / g.groups});
  const std::int64_t p = g.out_h(xs[1], ws[1]), q = g.out_w(xs[2], ws[2]);
  check.require(p >= 1 && q >= 1, "the kernel is larger than the padded input");
  check.shape("y (or dy)", y, {xs[0], p, q, ws[0]});
}

}  // namespace

void ConvOps::forward(const ConvForward& a) {
  const Check check(Op::conv_forward);
  check.floating("x", a.x);
  check.type("w", a.w, a.x.dtype());
  check.type("y", a.y, a.x.dtype());
  check_shapes(check, a.x, a.w, a.y, a.geometry);
  if (a.bias.defined()) {
    check.type("bias", a.bias, a.x.dtype());
    check.shape("bias", a.bias, {a.w.shape()[0]});
  }
  check.fusable(a.activation);
  do_forward(a);
}

void ConvOps::backward_data(const ConvBackwardData& a) {
  const Check check(Op::conv_backward_data);
  check.floating("dy", a.dy);
  check.type("w", a.w, a.dy.dtype());
  check.type("dx", a.dx, a.dy.dtype());
  check_shapes(check, a.dx, a.w, a.dy, a.geometry);
  do_backward_data(a);
}

void ConvOps::backward_weights(const ConvBackwardWeights& a) {
  const Check check(Op::conv_backward_weights);
  check.floating("x", a.x);
  check.type("dy", a.dy, a.x.dtype());
  check.type_or_f64("dw", a.dw, a.x.dtype());
  check_shapes(check, a.x, a.dw, a.dy, a.geometry);
  if (a.db.defined()) {
    check.type("db", a.db, a.dw.dtype());
    check.shape("db", a.db, {a.dw.shape()[0]});
  }
  do_backward_weights(a);
}

}  // namespace isaribi::api
