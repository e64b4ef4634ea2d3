// SPDX-License-Identifier: MIT
#include "backends/api/loss.hpp"

#include "backends/api/check.hpp"

namespace isaribi::api {
namespace {

void check_loss(const Check& check, const Loss& a) {
  check.floating("z", a.z);
  check.rank("z", a.z, 2);
  check.like("targets", a.targets, a.z);
  check.type("loss", a.loss, core::DType::f64);
  check.shape("loss", a.loss, {a.z.shape()[0]});
  if (a.dz.defined()) check.like("dz", a.dz, a.z);
}

}  // namespace

void LossOps::softmax_cross_entropy(const Loss& a) {
  const Check check(Op::softmax_cross_entropy);
  check_loss(check, a);
  check.require(a.z.shape()[1] >= 1, "a softmax needs at least one class");
  do_softmax_cross_entropy(a);
}

void LossOps::mean_squared_error(const Loss& a) {
  check_loss(Check(Op::mean_squared_error), a);
  do_mean_squared_error(a);
}

void LossOps::bernoulli_cross_entropy(const Loss& a) {
  check_loss(Check(Op::bernoulli_cross_entropy), a);
  do_bernoulli_cross_entropy(a);
}

void LossOps::one_hot(const OneHot& a) {
  const Check check(Op::one_hot);
  check.type("labels", a.labels, core::DType::i32);
  check.rank("labels", a.labels, 1);
  check.floating("targets", a.targets);
  check.rank("targets", a.targets, 2);
  check.shape("targets", a.targets, {a.labels.shape()[0], a.targets.shape()[1]});
  check.require(a.smoothing >= 0 && a.smoothing <= 1, "smoothing must lie in [0, 1]");
  do_one_hot(a);
}

}  // namespace isaribi::api
