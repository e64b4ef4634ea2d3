// SPDX-License-Identifier: MIT
#include "backends/api/update.hpp"

#include "backends/api/check.hpp"

namespace isaribi::api {
namespace {

void check_weight(const Check& check, const core::Tensor& w, const core::Tensor& gradient) {
  check.floating("w", w);
  check.type_or_f64("gradient", gradient, w.dtype());
  check.shape("gradient", gradient, w.shape());
}

}  // namespace

void UpdateOps::sgd(const SgdUpdate& a) {
  const Check check(Op::sgd_update);
  check_weight(check, a.w, a.gradient);
  if (a.velocity.defined()) check.like("velocity", a.velocity, a.w);
  check.require(a.velocity.defined() || a.momentum == 0.0, "momentum needs a velocity");
  do_sgd(a);
}

void UpdateOps::adam(const AdamUpdate& a) {
  const Check check(Op::adam_update);
  check_weight(check, a.w, a.gradient);
  check.like("m", a.m, a.w);
  check.like("v", a.v, a.w);
  check.require(a.step >= 1, "step counts from 1");
  do_adam(a);
}

}  // namespace isaribi::api
