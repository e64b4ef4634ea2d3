// SPDX-License-Identifier: MIT
// Dense linear algebra on row-major matrices: what K-FAC stands on. Types: f32 and f64.
#pragma once

#include "core/tensor.hpp"

namespace isaribi::api {

/// C = alpha op(A) op(B) + beta C. With beta == 0, C is not read (NaN in it does not survive).
struct Gemm {
  core::Tensor a;  ///< [M, K], or [K, M] when transposed
  core::Tensor b;  ///< [K, N], or [N, K] when transposed
  core::Tensor c;  ///< in/out: [M, N]
  bool transpose_a = false, transpose_b = false;
  double alpha = 1.0, beta = 0.0;
};

/// C = alpha op(A) op(A)^T + beta C with op(A) = A, or A^T when transposed. C is symmetric on entry
/// and exit: both triangles are written, and they are bitwise equal.
struct Syrk {
  core::Tensor a;  ///< [N, K], or [K, N] when transposed
  core::Tensor c;  ///< in/out: [N, N]
  bool transpose = false;
  double alpha = 1.0, beta = 0.0;
};

/// A = L L^T in place: the lower triangle of A becomes L, the strict upper triangle becomes 0.
struct Cholesky {
  core::Tensor a;  ///< in/out: [N, N], symmetric positive definite; only the lower triangle is read
};

/// A = (L L^T)^-1 in place, L the lower triangle of a, as cholesky leaves it. Both triangles of the
/// result are written, and they are bitwise equal.
struct CholeskyInverse {
  core::Tensor a;  ///< in: [N, N], only the lower triangle is read; out: symmetric
};

/// A = V diag(w) V^T. Eigenvalues ascend; column k of V (V[:, k]) is the eigenvector of w[k].
struct SymmetricEigen {
  core::Tensor a;  ///< in: [N, N] symmetric, only the lower triangle is read; out: V
  core::Tensor w;  ///< out: [N]
};

/// B = op(L)^-1 B (left) or B = B op(L)^-1 (right), L triangular with a non-unit diagonal.
struct TriangularSolve {
  core::Tensor l;  ///< [N, N]
  core::Tensor b;  ///< in/out: [N, M] when left, [M, N] when right
  bool left = true;
  bool lower = true;       ///< which triangle of L holds the data
  bool transpose = false;  ///< op(L) = L^T
};

/// Linear algebra of one backend. The public functions check shapes and types, then call the
/// virtual ones.
class LinalgOps {
 public:
  virtual ~LinalgOps() = default;
  void gemm(const Gemm& args);
  void syrk(const Syrk& args);
  /// @return 0, or k > 0 when the leading minor of order k is not positive definite (A is then
  /// undefined).
  int cholesky(const Cholesky& args);
  /// @return 0, or k > 0 when element k (from 1) of the diagonal of L is 0 (A is then undefined).
  int cholesky_inverse(const CholeskyInverse& args);
  /// @return 0, or > 0 when the iteration did not converge.
  int symmetric_eigen(const SymmetricEigen& args);
  void triangular_solve(const TriangularSolve& args);

 private:
  virtual void do_gemm(const Gemm& args) = 0;
  virtual void do_syrk(const Syrk& args) = 0;
  virtual int do_cholesky(const Cholesky& args) = 0;
  virtual int do_cholesky_inverse(const CholeskyInverse& args) = 0;
  virtual int do_symmetric_eigen(const SymmetricEigen& args) = 0;
  virtual void do_triangular_solve(const TriangularSolve& args) = 0;
};

}  // namespace isaribi::api
