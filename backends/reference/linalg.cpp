// SPDX-License-Identifier: MIT
// Dense linear algebra by the textbook (Golub & Van Loan, Matrix Computations, 4th edition):
// products, Cholesky (4.2), cyclic Jacobi (8.5) and substitution (3.1), all in double.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "backends/reference/ops.hpp"
#include "backends/reference/view.hpp"

namespace isaribi::reference {
namespace {

/// A square or rectangular matrix in double: what the factorisations work on.
struct Matrix {
  Matrix(std::int64_t rows_, std::int64_t columns_)
      : columns(columns_), values(static_cast<std::size_t>(rows_ * columns_), 0.0) {}
  double& operator()(std::int64_t i, std::int64_t j) {
    return values[static_cast<std::size_t>(i * columns + j)];
  }
  double operator()(std::int64_t i, std::int64_t j) const {
    return values[static_cast<std::size_t>(i * columns + j)];
  }
  std::int64_t columns;
  std::vector<double> values;
};

template <typename T>
void run_gemm(const api::Gemm& a) {
  const View<T> left(a.a), right(a.b), c(a.c);
  const std::int64_t m = a.c.shape()[0], n = a.c.shape()[1];
  const std::int64_t k = a.a.shape()[a.transpose_a ? 0 : 1];
#pragma omp parallel for collapse(2)
  for (std::int64_t i = 0; i < m; ++i) {
    for (std::int64_t j = 0; j < n; ++j) {
      double sum = 0.0;
      for (std::int64_t l = 0; l < k; ++l) {
        const double x = a.transpose_a ? left(l, i) : left(i, l);
        const double y = a.transpose_b ? right(j, l) : right(l, j);
        sum += x * y;
      }
      const double old = a.beta == 0.0 ? 0.0 : a.beta * c(i, j);
      c(i, j) = static_cast<T>(a.alpha * sum + old);
    }
  }
}

template <typename T>
void run_syrk(const api::Syrk& a) {
  const View<T> x(a.a), c(a.c);
  const std::int64_t n = a.c.shape()[0], k = a.a.shape()[a.transpose ? 0 : 1];
#pragma omp parallel for schedule(dynamic)
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t j = 0; j <= i; ++j) {
      double sum = 0.0;
      for (std::int64_t l = 0; l < k; ++l) {
        sum += a.transpose ? static_cast<double>(x(l, i)) * x(l, j)
                           : static_cast<double>(x(i, l)) * x(j, l);
      }
      const double old = a.beta == 0.0 ? 0.0 : a.beta * c(i, j);
      c(i, j) = c(j, i) = static_cast<T>(a.alpha * sum + old);
    }
  }
}

template <typename T>
int run_cholesky(const api::Cholesky& a) {
  const View<T> out(a.a);
  const std::int64_t n = a.a.shape()[0];
  Matrix l(n, n);
  for (std::int64_t j = 0; j < n; ++j) {
    double pivot = out(j, j);
    for (std::int64_t k = 0; k < j; ++k) pivot -= l(j, k) * l(j, k);
    if (!(pivot > 0.0)) return static_cast<int>(j) + 1;  // NaN too
    l(j, j) = std::sqrt(pivot);
#pragma omp parallel for
    for (std::int64_t i = j + 1; i < n; ++i) {
      double sum = out(i, j);
      for (std::int64_t k = 0; k < j; ++k) sum -= l(i, k) * l(j, k);
      l(i, j) = sum / l(j, j);
    }
  }
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t j = 0; j < n; ++j) out(i, j) = static_cast<T>(l(i, j));
  }
  return 0;
}

/// M = L^-1 by substitution, then the inverse as M^T M.
template <typename T>
int run_cholesky_inverse(const api::CholeskyInverse& args) {
  const View<T> out(args.a);
  const std::int64_t n = args.a.shape()[0];
  Matrix m(n, n);
  for (std::int64_t i = 0; i < n; ++i) {
    const double pivot = out(i, i);
    if (pivot == 0.0) return static_cast<int>(i) + 1;
    for (std::int64_t j = 0; j <= i; ++j) {
      double sum = i == j ? 1.0 : 0.0;
      for (std::int64_t k = j; k < i; ++k) sum -= out(i, k) * m(k, j);
      m(i, j) = sum / pivot;
    }
  }
#pragma omp parallel for schedule(dynamic)
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t j = 0; j <= i; ++j) {
      double sum = 0.0;
      for (std::int64_t k = i; k < n; ++k) sum += m(k, i) * m(k, j);
      out(i, j) = out(j, i) = static_cast<T>(sum);
    }
  }
  return 0;
}

/// Rotates rows and columns p and q of the symmetric `a` so that a(p, q) becomes 0, and the columns
/// of `v` with them.
void jacobi_rotation(Matrix& a, Matrix& v, std::int64_t p, std::int64_t q) {
  if (a(p, q) == 0.0) return;
  const double theta = (a(q, q) - a(p, p)) / (2.0 * a(p, q));
  const double t = (theta < 0.0 ? -1.0 : 1.0) / (std::fabs(theta) + std::hypot(theta, 1.0));
  const double c = 1.0 / std::sqrt(t * t + 1.0), s = t * c;
  for (std::int64_t k = 0; k < a.columns; ++k) {
    const double kp = a(k, p), kq = a(k, q);
    a(k, p) = c * kp - s * kq;
    a(k, q) = s * kp + c * kq;
  }
  for (std::int64_t k = 0; k < a.columns; ++k) {
    const double pk = a(p, k), qk = a(q, k);
    a(p, k) = c * pk - s * qk;
    a(q, k) = s * pk + c * qk;
  }
  for (std::int64_t k = 0; k < a.columns; ++k) {
    const double kp = v(k, p), kq = v(k, q);
    v(k, p) = c * kp - s * kq;
    v(k, q) = s * kp + c * kq;
  }
}

/// Diagonalises `a` by sweeps of rotations; the columns of `v` become its eigenvectors.
/// @return whether the off-diagonal part became negligible.
bool jacobi(Matrix& a, Matrix& v) {
  constexpr int kMaxSweeps = 60;  // convergence is quadratic: 6 to 10 are usual
  const std::int64_t n = a.columns;
  double norm = 0.0;
  for (const double x : a.values) norm += x * x;
  const double negligible = norm * std::pow(std::numeric_limits<double>::epsilon(), 2);
  for (std::int64_t i = 0; i < n; ++i) v(i, i) = 1.0;
  for (int sweep = 0; sweep < kMaxSweeps; ++sweep) {
    double off = 0.0;
    for (std::int64_t p = 0; p < n; ++p) {
      for (std::int64_t q = p + 1; q < n; ++q) off += 2.0 * a(p, q) * a(p, q);
    }
    if (off <= negligible) return true;
    for (std::int64_t p = 0; p < n; ++p) {
      for (std::int64_t q = p + 1; q < n; ++q) jacobi_rotation(a, v, p, q);
    }
  }
  return false;
}

template <typename T>
int run_symmetric_eigen(const api::SymmetricEigen& args) {
  const View<T> out(args.a), w(args.w);
  const std::int64_t n = args.a.shape()[0];
  Matrix a(n, n), v(n, n);
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t j = 0; j <= i; ++j) a(i, j) = a(j, i) = out(i, j);
  }
  if (!jacobi(a, v)) return 1;
  std::vector<std::int64_t> order(static_cast<std::size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](auto i, auto j) { return a(i, i) < a(j, j); });
  for (std::int64_t k = 0; k < n; ++k) {
    const std::int64_t from = order[static_cast<std::size_t>(k)];
    w(k) = static_cast<T>(a(from, from));
    for (std::int64_t i = 0; i < n; ++i) out(i, k) = static_cast<T>(v(i, from));
  }
  return 0;
}

/// x = M^-1 x by substitution, where m(i, j) is the triangular M of order n.
template <typename Element>
void substitute(const Element& m, bool lower, std::int64_t n, std::vector<double>& x) {
  for (std::int64_t step = 0; step < n; ++step) {
    const std::int64_t i = lower ? step : n - 1 - step;
    double sum = x[static_cast<std::size_t>(i)];
    for (std::int64_t j = lower ? 0 : i + 1; j < (lower ? i : n); ++j)
      sum -= m(i, j) * x[static_cast<std::size_t>(j)];
    x[static_cast<std::size_t>(i)] = sum / m(i, i);
  }
}

template <typename T>
void run_triangular_solve(const api::TriangularSolve& a) {
  const View<T> l(a.l), b(a.b);
  const std::int64_t n = a.l.shape()[0], count = a.b.shape()[a.left ? 1 : 0];
  // B op(L)^-1 is solved row by row as op(L)^T x = (row)^T: the right side is the left side with
  // one more transpose.
  const bool transpose = a.left ? a.transpose : !a.transpose;
  const bool lower = a.lower != transpose;
  const auto m = [&](std::int64_t i, std::int64_t j) -> double {
    return transpose ? l(j, i) : l(i, j);
  };
#pragma omp parallel for
  for (std::int64_t k = 0; k < count; ++k) {
    std::vector<double> x(static_cast<std::size_t>(n));
    for (std::int64_t i = 0; i < n; ++i)
      x[static_cast<std::size_t>(i)] = a.left ? b(i, k) : b(k, i);
    substitute(m, lower, n, x);
    for (std::int64_t i = 0; i < n; ++i)
      (a.left ? b(i, k) : b(k, i)) = static_cast<T>(x[static_cast<std::size_t>(i)]);
  }
}

}  // namespace

void Linalg::do_gemm(const api::Gemm& a) {
  with_real(a.a.dtype(), [&](auto t) { run_gemm<decltype(t)>(a); });
}

void Linalg::do_syrk(const api::Syrk& a) {
  with_real(a.a.dtype(), [&](auto t) { run_syrk<decltype(t)>(a); });
}

int Linalg::do_cholesky(const api::Cholesky& a) {
  int info = 0;
  with_real(a.a.dtype(), [&](auto t) { info = run_cholesky<decltype(t)>(a); });
  return info;
}

int Linalg::do_cholesky_inverse(const api::CholeskyInverse& a) {
  int info = 0;
  with_real(a.a.dtype(), [&](auto t) { info = run_cholesky_inverse<decltype(t)>(a); });
  return info;
}

int Linalg::do_symmetric_eigen(const api::SymmetricEigen& a) {
  int info = 0;
  with_real(a.a.dtype(), [&](auto t) { info = run_symmetric_eigen<decltype(t)>(a); });
  return info;
}

void Linalg::do_triangular_solve(const api::TriangularSolve& a) {
  with_real(a.l.dtype(), [&](auto t) { run_triangular_solve<decltype(t)>(a); });
}

}  // namespace isaribi::reference
