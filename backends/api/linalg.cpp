// SPDX-License-Identifier: MIT
#include "backends/api/linalg.hpp"

#include "backends/api/check.hpp"

namespace isaribi::api {
namespace {

void check_square(const Check& check, std::string_view name, const core::Tensor& t) {
  check.floating(name, t);
  check.rank(name, t, 2);
  check.shape(name, t, {t.shape()[0], t.shape()[0]});
}

}  // namespace

void LinalgOps::gemm(const Gemm& a) {
  const Check check(Op::gemm);
  check.floating("a", a.a);
  check.type("b", a.b, a.a.dtype());
  check.type("c", a.c, a.a.dtype());
  check.rank("a", a.a, 2);
  check.rank("b", a.b, 2);
  const std::int64_t m = a.a.shape()[a.transpose_a ? 1 : 0], k = a.a.shape()[a.transpose_a ? 0 : 1];
  const std::int64_t n = a.b.shape()[a.transpose_b ? 0 : 1];
  check.shape("b", a.b, a.transpose_b ? core::Shape{n, k} : core::Shape{k, n});
  check.shape("c", a.c, {m, n});
  do_gemm(a);
}

void LinalgOps::syrk(const Syrk& a) {
  const Check check(Op::syrk);
  check.floating("a", a.a);
  check.type("c", a.c, a.a.dtype());
  check.rank("a", a.a, 2);
  const std::int64_t n = a.a.shape()[a.transpose ? 1 : 0];
  check.shape("c", a.c, {n, n});
  do_syrk(a);
}

int LinalgOps::cholesky(const Cholesky& a) {
  check_square(Check(Op::cholesky), "a", a.a);
  return do_cholesky(a);
}

int LinalgOps::cholesky_inverse(const CholeskyInverse& a) {
  check_square(Check(Op::cholesky_inverse), "a", a.a);
  return do_cholesky_inverse(a);
}

int LinalgOps::symmetric_eigen(const SymmetricEigen& a) {
  const Check check(Op::symmetric_eigen);
  check_square(check, "a", a.a);
  check.type("w", a.w, a.a.dtype());
  check.shape("w", a.w, {a.a.shape()[0]});
  return do_symmetric_eigen(a);
}

void LinalgOps::triangular_solve(const TriangularSolve& a) {
  const Check check(Op::triangular_solve);
  check_square(check, "l", a.l);
  check.type("b", a.b, a.l.dtype());
  check.rank("b", a.b, 2);
  const std::int64_t n = a.l.shape()[0];
  check.shape("b", a.b, a.left ? core::Shape{n, a.b.shape()[1]} : core::Shape{a.b.shape()[0], n});
  do_triangular_solve(a);
}

}  // namespace isaribi::api
