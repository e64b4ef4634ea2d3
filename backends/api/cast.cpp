// SPDX-License-Identifier: MIT
#include "backends/api/cast.hpp"

#include "backends/api/check.hpp"

namespace isaribi::api {
namespace {

void check_triangle(const Check& check, const core::Tensor& full, const core::Tensor& packed) {
  check.floating("full", full);
  check.rank("full", full, 2);
  const std::int64_t n = full.shape()[0];
  check.shape("full", full, {n, n});
  check.type("packed", packed, full.dtype());
  check.shape("packed", packed, {n * (n + 1) / 2});
}

}  // namespace

void CastOps::cast(const core::Tensor& x, const core::Tensor& y) {
  const Check check(Op::cast);
  check.require(x.defined() && y.defined(), "an operand is missing");
  check.shape("y", y, x.shape());
  do_cast(x, y);
}

void CastOps::pack_triangle(const core::Tensor& full, const core::Tensor& packed) {
  check_triangle(Check(Op::pack_triangle), full, packed);
  do_pack_triangle(full, packed);
}

void CastOps::unpack_triangle(const core::Tensor& packed, const core::Tensor& full) {
  check_triangle(Check(Op::unpack_triangle), full, packed);
  do_unpack_triangle(packed, full);
}

}  // namespace isaribi::api
