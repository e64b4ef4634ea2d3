// SPDX-License-Identifier: MIT
// f32 products and Cholesky run on our own tiles (gemm.cpp, cholesky.cpp); the rest is BLAS and
// LAPACK. Row-major operands are handed to column-major BLAS: a row-major matrix is the transpose
// of the same memory read column-major, so C = A B becomes C^T = B^T A^T and lower triangles become
// upper ones.
#include "backends/simd/linalg.hpp"

#include <algorithm>

#include "backends/simd/blas.hpp"
#include "backends/simd/cholesky.hpp"
#include "backends/simd/gemm.hpp"
#include "backends/simd/parallel.hpp"

namespace isaribi::simd {
namespace {

constexpr std::int64_t kSyrkBlock = 96;

/// c = beta c: the empty sum (K = 0), where some BLAS return early.
template <typename T>
void scale(const core::Tensor& c, double beta) {
  T* y = c.data<T>();
  for (std::int64_t i = 0; i < c.count(); ++i) {
    y[i] = beta == 0.0 ? T(0) : static_cast<T>(beta * static_cast<double>(y[i]));
  }
}

/// f64, by BLAS: one call per thread and piece of the result.
void run_gemm_f64(const api::Gemm& args) {
  const std::int64_t m = args.c.shape()[0], n = args.c.shape()[1];
  const std::int64_t k = args.transpose_a ? args.a.shape()[0] : args.a.shape()[1];
  const double *a = args.a.data<double>(), *b = args.b.data<double>();
  double* c = args.c.data<double>();
  const std::int64_t lda = args.transpose_a ? m : k, ldb = args.transpose_b ? k : n;
  const char ta = args.transpose_a ? 'T' : 'N', tb = args.transpose_b ? 'T' : 'N';
  const bool by_rows = m >= n;
  parallel_ranges(by_rows ? m : n, m * n * k / 8, 16, [&](Range r) {
    const std::int64_t count = r.end - r.begin;
    if (by_rows) {
      const double* part = a + r.begin * (args.transpose_a ? 1 : k);
      blas::gemm(tb, ta, n, count, k, args.alpha, b, ldb, part, lda, args.beta, c + r.begin * n, n);
    } else {
      const double* part = b + r.begin * (args.transpose_b ? k : 1);
      blas::gemm(tb, ta, count, m, k, args.alpha, part, ldb, a, lda, args.beta, c + r.begin, n);
    }
  });
}

Operand operand(const core::Tensor& t, bool transposed) {
  const std::int64_t row = t.shape()[1];
  return transposed ? Operand{t.data<float>(), 1, row} : Operand{t.data<float>(), row, 1};
}

/// f32, by our own register tiles.
void run_gemm_f32(const api::Gemm& args, Context& context) {
  const std::int64_t m = args.c.shape()[0], n = args.c.shape()[1];
  const std::int64_t k = args.transpose_a ? args.a.shape()[0] : args.a.shape()[1];
  const auto alpha = static_cast<float>(args.alpha), beta = static_cast<float>(args.beta);
  multiply({m, n, k, operand(args.a, args.transpose_a), operand(args.b, args.transpose_b),
            args.c.data<float>(), n, alpha, beta},
           context);
}

/// Block rows of the lower triangle by GEMM, then mirrored: both triangles bitwise equal.
void run_syrk_f64(const api::Syrk& args) {
  const std::int64_t n = args.c.shape()[0];
  const std::int64_t k = args.transpose ? args.a.shape()[0] : args.a.shape()[1];
  const double* a = args.a.data<double>();
  double* c = args.c.data<double>();
  const std::int64_t lda = args.transpose ? n : k, step = args.transpose ? 1 : k;
  const std::int64_t blocks = (n + kSyrkBlock - 1) / kSyrkBlock;
#pragma omp parallel if (n * n * k > kSerialBelow * 16)
  {
    const int thread = omp_get_thread_num(), team = omp_get_num_threads();
    for (std::int64_t i = 0; i < blocks; ++i) {
      // Forth and back over the threads, so that long and short block rows even out.
      const std::int64_t at = i % (2 * team);
      if ((at < team ? at : 2 * team - 1 - at) != thread) continue;
      const std::int64_t begin = i * kSyrkBlock, end = std::min(n, begin + kSyrkBlock);
      blas::gemm(args.transpose ? 'N' : 'T', args.transpose ? 'T' : 'N', end, end - begin, k,
                 args.alpha, a, lda, a + begin * step, lda, args.beta, c + begin * n, n);
    }
#pragma omp barrier
    const Range r = share(n, thread, team, 16);
    for (std::int64_t i = r.begin; i < r.end; ++i) {
      for (std::int64_t j = i + 1; j < n; ++j) c[i * n + j] = c[j * n + i];
    }
  }
}

void run_syrk_f32(const api::Syrk& args, Context& context) {
  const std::int64_t n = args.c.shape()[0];
  const std::int64_t k = args.transpose ? args.a.shape()[0] : args.a.shape()[1];
  const float* a = args.a.data<float>();
  const Operand rows = args.transpose ? Operand{a, 1, n} : Operand{a, k, 1};
  multiply_symmetric({n,
                      n,
                      k,
                      rows,
                      {a, rows.column, rows.row},
                      args.c.data<float>(),
                      n,
                      static_cast<float>(args.alpha),
                      static_cast<float>(args.beta)},
                     context);
}

int run_cholesky_f64(double* a, std::int64_t n) {
  int info = blas::potrf('U', n, a, n);
  // OpenBLAS takes the root of a NaN pivot and goes on, where LAPACK stops.
  for (std::int64_t i = 0; info == 0 && i < n; ++i) {
    if (!(a[i * n + i] > 0.0)) info = static_cast<int>(i) + 1;
  }
  for (std::int64_t i = 0; i < n; ++i) std::fill(a + i * n + i + 1, a + (i + 1) * n, 0.0);
  return info;
}

/// potri writes one triangle, which is mirrored.
int run_cholesky_inverse_f64(double* a, std::int64_t n) {
  const int info = blas::potri('U', n, a, n);
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t j = 0; j < i; ++j) a[j * n + i] = a[i * n + j];
  }
  return info;
}

template <typename T>
int run_symmetric_eigen(const api::SymmetricEigen& args, Scratch& scratch) {
  const std::int64_t n = args.a.shape()[0];
  if (n == 0) return 0;
  T *a = args.a.data<T>(), *w = args.w.data<T>();
  T size = 0;
  int integers = 0;
  if (const int info = blas::syevd('U', n, a, n, w, &size, -1, &integers, -1))
    return std::abs(info);
  const auto count = static_cast<std::int64_t>(static_cast<double>(size) * (1 + 1e-6)) + 1;
  T* work = scratch.get<T>(Use::partial, count);
  int* iwork = scratch.get<int>(Use::result, integers);
  const int info = blas::syevd('U', n, a, n, w, work, count, iwork, integers);
  for (std::int64_t i = 0; i < n; ++i) {  // eigenvectors come as rows
    for (std::int64_t j = 0; j < i; ++j) std::swap(a[i * n + j], a[j * n + i]);
  }
  return info;
}

template <typename T>
void run_triangular_solve(const api::TriangularSolve& args) {
  const std::int64_t n = args.l.shape()[0];
  const std::int64_t m = args.left ? args.b.shape()[1] : args.b.shape()[0];
  if (n == 0 || m == 0) return;
  const T* l = args.l.data<T>();
  T* b = args.b.data<T>();
  const char uplo = args.lower ? 'U' : 'L', trans = args.transpose ? 'T' : 'N';
  parallel_ranges(m, m * n * n / 8, 16, [&](Range r) {
    const std::int64_t count = r.end - r.begin;
    if (args.left) {
      blas::trsm('R', uplo, trans, count, n, l, n, b + r.begin, m);
    } else {
      blas::trsm('L', uplo, trans, n, count, l, n, b + r.begin * n, n);
    }
  });
}

}  // namespace

void Linalg::do_gemm(const api::Gemm& args) {
  const bool f64 = args.c.dtype() == core::DType::f64;
  const std::int64_t k = args.transpose_a ? args.a.shape()[0] : args.a.shape()[1];
  if (args.c.count() == 0) return;
  if (k == 0) {
    f64 ? scale<double>(args.c, args.beta) : scale<float>(args.c, args.beta);
  } else {
    f64 ? run_gemm_f64(args) : run_gemm_f32(args, context_);
  }
}

void Linalg::do_syrk(const api::Syrk& args) {
  const bool f64 = args.c.dtype() == core::DType::f64;
  const std::int64_t k = args.transpose ? args.a.shape()[0] : args.a.shape()[1];
  if (args.c.count() == 0) return;
  if (k == 0) {
    f64 ? scale<double>(args.c, args.beta) : scale<float>(args.c, args.beta);
  } else {
    f64 ? run_syrk_f64(args) : run_syrk_f32(args, context_);
  }
}

int Linalg::do_cholesky(const api::Cholesky& args) {
  const std::int64_t n = args.a.shape()[0];
  if (n == 0) return 0;
  return args.a.dtype() == core::DType::f64 ? run_cholesky_f64(args.a.data<double>(), n)
                                            : cholesky_f32(args.a.data<float>(), n, context_);
}

int Linalg::do_cholesky_inverse(const api::CholeskyInverse& args) {
  const std::int64_t n = args.a.shape()[0];
  if (n == 0) return 0;
  return args.a.dtype() == core::DType::f64
             ? run_cholesky_inverse_f64(args.a.data<double>(), n)
             : cholesky_inverse_f32(args.a.data<float>(), n, context_);
}

int Linalg::do_symmetric_eigen(const api::SymmetricEigen& args) {
  Scratch& scratch = context_.ready();
  return args.a.dtype() == core::DType::f64 ? run_symmetric_eigen<double>(args, scratch)
                                            : run_symmetric_eigen<float>(args, scratch);
}

void Linalg::do_triangular_solve(const api::TriangularSolve& args) {
  args.b.dtype() == core::DType::f64 ? run_triangular_solve<double>(args)
                                     : run_triangular_solve<float>(args);
}

}  // namespace isaribi::simd
