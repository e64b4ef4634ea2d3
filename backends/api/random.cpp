// SPDX-License-Identifier: MIT
#include "backends/api/random.hpp"

#include "backends/api/check.hpp"

namespace isaribi::api {

void RandomOps::dropout(const Dropout& a) {
  const Check check(Op::dropout);
  check.floating("x", a.x);
  check.at_least_rank("x", a.x, 1);
  check.like("y", a.y, a.x);
  check.type("ids", a.ids, core::DType::i32);
  check.shape("ids", a.ids, {a.x.shape()[0]});
  check.require(a.p >= 0 && a.p < 1, "p must lie in [0, 1)");
  do_dropout(a);
}

void RandomOps::uniform(const RandomUniform& a) {
  Check(Op::random_uniform).floating("x", a.x);
  do_uniform(a);
}

void RandomOps::normal(const RandomNormal& a) {
  Check(Op::random_normal).floating("x", a.x);
  do_normal(a);
}

}  // namespace isaribi::api
