// SPDX-License-Identifier: MIT
#include "backends/api/elementwise.hpp"

#include "backends/api/check.hpp"

namespace isaribi::api {
namespace {

// `parts` side by side along the last axis have the shape of `whole`, and its type, or any that
// holds reals where they are `converted`.
void check_parts(const Check& check, const std::vector<core::Tensor>& parts,
                 const core::Tensor& whole, bool converted) {
  check.floating("whole", whole);
  check.at_least_rank("whole", whole, 1);
  check.require(!parts.empty(), "at least one part is needed");
  std::int64_t channels = 0;
  for (const core::Tensor& part : parts) {
    converted ? check.floating("part", part) : check.type("part", part, whole.dtype());
    check.rank("part", part, whole.shape().rank());
    for (int i = 0; i + 1 < whole.shape().rank(); ++i) {
      check.require(part.shape()[i] == whole.shape()[i],
                    "parts must agree in all but the last dimension");
    }
    channels += part.shape().back();
  }
  check.require(channels == whole.shape().back(),
                "the last dimensions of the parts must add up to that of the whole");
}

}  // namespace

void ElementwiseOps::activation_forward(const ActivationForward& a) {
  const Check check(Op::activation_forward);
  check.floating("x", a.x);
  check.like("y", a.y, a.x);
  do_activation_forward(a);
}

void ElementwiseOps::activation_backward(const ActivationBackward& a) {
  const Check check(Op::activation_backward);
  check.floating("dy", a.dy);
  check.like("dx", a.dx, a.dy);
  if (a.kind == Activation::swish) check.like("x", a.x, a.dy);
  if (a.kind != Activation::swish && a.kind != Activation::none) check.like("y", a.y, a.dy);
  do_activation_backward(a);
}

void ElementwiseOps::add(const Add& a) {
  const Check check(Op::add);
  check.floating("a", a.a);
  check.like("b", a.b, a.a);
  check.like("y", a.y, a.a);
  check.fusable(a.activation);
  do_add(a);
}

void ElementwiseOps::multiply(const Multiply& a) {
  const Check check(Op::multiply);
  check.floating("a", a.a);
  check.like("b", a.b, a.a);
  check.like("y", a.y, a.a);
  do_multiply(a);
}

void ElementwiseOps::axpby(const Axpby& a) {
  const Check check(Op::axpby);
  check.floating("x", a.x);
  check.floating("y", a.y);
  check.shape("y", a.y, a.x.shape());
  do_axpby(a);
}

void ElementwiseOps::fill(const Fill& a) {
  Check(Op::fill).require(a.y.defined(), "operand y is missing");
  do_fill(a);
}

void ElementwiseOps::add_bias(const AddBias& a) {
  const Check check(Op::add_bias);
  check.floating("x", a.x);
  check.at_least_rank("x", a.x, 1);
  check.type("bias", a.bias, a.x.dtype());
  check.shape("bias", a.bias, {a.x.shape().back()});
  check.like("y", a.y, a.x);
  do_add_bias(a);
}

void ElementwiseOps::bias_gradient(const BiasGradient& a) {
  const Check check(Op::bias_gradient);
  check.floating("dy", a.dy);
  check.at_least_rank("dy", a.dy, 1);
  check.type_or_f64("db", a.db, a.dy.dtype());
  check.shape("db", a.db, {a.dy.shape().back()});
  do_bias_gradient(a);
}

void check_concat(const Concat& a) {
  const Check check(Op::concat);
  check_parts(check, a.parts, a.y, true);
  check.require(a.addends.empty() || a.addends.size() == a.parts.size(),
                "one addend per part is needed, or none");
  check.require(a.scales.size() == a.addends.size(), "one scale per addend is needed");
  for (std::size_t k = 0; k < a.addends.size(); ++k) {
    check.type("addend", a.addends[k], a.y.dtype());
    check.shape("addend", a.addends[k], a.parts[k].shape());
  }
}

void ElementwiseOps::concat(const Concat& a) {
  check_concat(a);
  do_concat(a);
}

void ElementwiseOps::split(const Split& a) {
  check_parts(Check(Op::split), a.parts, a.x, false);
  do_split(a);
}

double ElementwiseOps::dot(const core::Tensor& a, const core::Tensor& b) {
  const Check check(Op::dot);
  check.floating("a", a);
  check.like("b", b, a);
  return do_dot(a, b);
}

void ElementwiseOps::argmax(const core::Tensor& x, const core::Tensor& index) {
  const Check check(Op::argmax);
  check.floating("x", x);
  check.rank("x", x, 2);
  check.require(x.shape()[1] >= 1, "there is nothing to choose from");
  check.type("index", index, core::DType::i32);
  check.shape("index", index, {x.shape()[0]});
  do_argmax(x, index);
}

}  // namespace isaribi::api
