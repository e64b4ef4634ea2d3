// SPDX-License-Identifier: MIT
// Declarations of the Fortran symbols and thin overloads over them.
#include "backends/simd/blas.hpp"

extern "C" {
void dgemm_(const char*, const char*, const int*, const int*, const int*, const double*,
            const double*, const int*, const double*, const int*, const double*, double*,
            const int*);
void strsm_(const char*, const char*, const char*, const char*, const int*, const int*,
            const float*, const float*, const int*, float*, const int*);
void dtrsm_(const char*, const char*, const char*, const char*, const int*, const int*,
            const double*, const double*, const int*, double*, const int*);
void dpotrf_(const char*, const int*, double*, const int*, int*);
void dpotri_(const char*, const int*, double*, const int*, int*);
void ssyevd_(const char*, const char*, const int*, float*, const int*, float*, float*, const int*,
             int*, const int*, int*);
void dsyevd_(const char*, const char*, const int*, double*, const int*, double*, double*,
             const int*, int*, const int*, int*);
// Present in OpenBLAS only.
void openblas_set_num_threads(int) __attribute__((weak));
const char* openblas_get_config() __attribute__((weak));
}

namespace isaribi::simd::blas {
namespace {

int to_int(std::int64_t n) {
  return static_cast<int>(n);
}

}  // namespace

void gemm(char trans_a, char trans_b, std::int64_t m, std::int64_t n, std::int64_t k, double alpha,
          const double* a, std::int64_t lda, const double* b, std::int64_t ldb, double beta,
          double* c, std::int64_t ldc) {
  const int im = to_int(m), in = to_int(n), ik = to_int(k), ia = to_int(lda), ib = to_int(ldb),
            ic = to_int(ldc);
  dgemm_(&trans_a, &trans_b, &im, &in, &ik, &alpha, a, &ia, b, &ib, &beta, c, &ic);
}

void trsm(char side, char uplo, char trans, std::int64_t m, std::int64_t n, const float* a,
          std::int64_t lda, float* b, std::int64_t ldb) {
  const int im = to_int(m), in = to_int(n), ia = to_int(lda), ib = to_int(ldb);
  const float one = 1.0f;
  strsm_(&side, &uplo, &trans, "N", &im, &in, &one, a, &ia, b, &ib);
}

void trsm(char side, char uplo, char trans, std::int64_t m, std::int64_t n, const double* a,
          std::int64_t lda, double* b, std::int64_t ldb) {
  const int im = to_int(m), in = to_int(n), ia = to_int(lda), ib = to_int(ldb);
  const double one = 1.0;
  dtrsm_(&side, &uplo, &trans, "N", &im, &in, &one, a, &ia, b, &ib);
}

int potrf(char uplo, std::int64_t n, double* a, std::int64_t lda) {
  const int in = to_int(n), ia = to_int(lda);
  int info = 0;
  dpotrf_(&uplo, &in, a, &ia, &info);
  return info;
}

int potri(char uplo, std::int64_t n, double* a, std::int64_t lda) {
  const int in = to_int(n), ia = to_int(lda);
  int info = 0;
  dpotri_(&uplo, &in, a, &ia, &info);
  return info;
}

int syevd(char uplo, std::int64_t n, float* a, std::int64_t lda, float* w, float* work,
          std::int64_t lwork, int* iwork, std::int64_t liwork) {
  const int in = to_int(n), ia = to_int(lda), lw = to_int(lwork), li = to_int(liwork);
  int info = 0;
  ssyevd_("V", &uplo, &in, a, &ia, w, work, &lw, iwork, &li, &info);
  return info;
}

int syevd(char uplo, std::int64_t n, double* a, std::int64_t lda, double* w, double* work,
          std::int64_t lwork, int* iwork, std::int64_t liwork) {
  const int in = to_int(n), ia = to_int(lda), lw = to_int(lwork), li = to_int(liwork);
  int info = 0;
  dsyevd_("V", &uplo, &in, a, &ia, w, work, &lw, iwork, &li, &info);
  return info;
}

void use_one_thread() {
  if (openblas_set_num_threads) openblas_set_num_threads(1);
}

const char* library_name() {
  return openblas_get_config ? openblas_get_config() : "BLAS";
}

}  // namespace isaribi::simd::blas
