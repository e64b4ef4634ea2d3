// SPDX-License-Identifier: MIT
// Dense linear algebra of simd: f32 products of our own, the rest through BLAS and LAPACK, shared
// among our threads.
#pragma once

#include "backends/api/linalg.hpp"
#include "backends/simd/context.hpp"

namespace isaribi::simd {

class Linalg final : public api::LinalgOps {
 public:
  explicit Linalg(Context& context) : context_(context) {}

 private:
  void do_gemm(const api::Gemm& args) override;
  void do_syrk(const api::Syrk& args) override;
  int do_cholesky(const api::Cholesky& args) override;
  int do_cholesky_inverse(const api::CholeskyInverse& args) override;
  int do_symmetric_eigen(const api::SymmetricEigen& args) override;
  void do_triangular_solve(const api::TriangularSolve& args) override;

  Context& context_;
};

}  // namespace isaribi::simd
