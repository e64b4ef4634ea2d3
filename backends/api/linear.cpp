// SPDX-License-Identifier: MIT
#include "backends/api/linear.hpp"

#include "backends/api/check.hpp"

namespace isaribi::api {
namespace {

void check_shapes(const Check& check, const core::Tensor& x, const core::Tensor& w,
                  const core::Tensor& y) {
  check.rank("x (or dx)", x, 2);
  check.rank("w (or dw)", w, 2);
  check.shape("w (or dw)", w, {w.shape()[0], x.shape()[1]});
  check.shape("y (or dy)", y, {x.shape()[0], w.shape()[0]});
}

}  // namespace

void LinearOps::forward(const LinearForward& a) {
  const Check check(Op::linear_forward);
  check.floating("x", a.x);
  check.type("w", a.w, a.x.dtype());
  check.type("y", a.y, a.x.dtype());
  check_shapes(check, a.x, a.w, a.y);
  if (a.bias.defined()) {
    check.type("bias", a.bias, a.x.dtype());
    check.shape("bias", a.bias, {a.w.shape()[0]});
  }
  check.fusable(a.activation);
  do_forward(a);
}

void LinearOps::backward_data(const LinearBackwardData& a) {
  const Check check(Op::linear_backward_data);
  check.floating("dy", a.dy);
  check.type("w", a.w, a.dy.dtype());
  check.type("dx", a.dx, a.dy.dtype());
  check_shapes(check, a.dx, a.w, a.dy);
  do_backward_data(a);
}

void LinearOps::backward_weights(const LinearBackwardWeights& a) {
  const Check check(Op::linear_backward_weights);
  check.floating("x", a.x);
  check.type("dy", a.dy, a.x.dtype());
  check.type_or_f64("dw", a.dw, a.x.dtype());
  check_shapes(check, a.x, a.dw, a.dy);
  if (a.db.defined()) {
    check.type("db", a.db, a.dw.dtype());
    check.shape("db", a.db, {a.dw.shape()[0]});
  }
  do_backward_weights(a);
}

}  // namespace isaribi::api
