// SPDX-License-Identifier: MIT
// The few BLAS and LAPACK routines we call, declared by us (Fortran symbols, 32-bit integers), as
// overloads on float and double. Matrices are column-major here. OpenBLAS is told to stay on the
// calling thread: the threads are OpenMP's, and ours.
#pragma once

#include <cstdint>

namespace isaribi::simd::blas {

/// C = alpha op(A) op(B) + beta C, C: m x n.
void gemm(char trans_a, char trans_b, std::int64_t m, std::int64_t n, std::int64_t k, double alpha,
          const double* a, std::int64_t lda, const double* b, std::int64_t ldb, double beta,
          double* c, std::int64_t ldc);
/// B = op(A)^-1 B ('L') or B op(A)^-1 ('R'), B: m x n, A triangular, non-unit diagonal.
void trsm(char side, char uplo, char trans, std::int64_t m, std::int64_t n, const float* a,
          std::int64_t lda, float* b, std::int64_t ldb);
void trsm(char side, char uplo, char trans, std::int64_t m, std::int64_t n, const double* a,
          std::int64_t lda, double* b, std::int64_t ldb);
/// Cholesky of the `uplo` triangle. @return LAPACK's info.
int potrf(char uplo, std::int64_t n, double* a, std::int64_t lda);
/// Inverse from the `uplo` triangle of a Cholesky factor, into that triangle. @return LAPACK's
/// info.
int potri(char uplo, std::int64_t n, double* a, std::int64_t lda);
/// Eigenvalues w (ascending) and eigenvectors (columns of A) of the `uplo` triangle, divide and
/// conquer. Without `work` (lwork or liwork -1) writes the sizes it wants to *work and *iwork.
int syevd(char uplo, std::int64_t n, float* a, std::int64_t lda, float* w, float* work,
          std::int64_t lwork, int* iwork, std::int64_t liwork);
int syevd(char uplo, std::int64_t n, double* a, std::int64_t lda, double* w, double* work,
          std::int64_t lwork, int* iwork, std::int64_t liwork);

/// One thread per call, when the library is OpenBLAS.
void use_one_thread();
/// "OpenBLAS 0.3.21 ... Zen" or "BLAS" when it has no name to tell.
const char* library_name();

}  // namespace isaribi::simd::blas
