// SPDX-License-Identifier: MIT
// Dense linear algebra: everything of order n^3 goes through multiply() (matrix.hpp); Cholesky and
// the triangular solve work on the diagonal by blocks of kBlock.
#include "backends/kokkos/eigen.hpp"
#include "backends/kokkos/matrix.hpp"
#include "backends/kokkos/ops.hpp"

namespace isaribi::kokkos {
namespace {

using Range = Kokkos::RangePolicy<Space, Kokkos::IndexType<Index>>;

constexpr Index kBlock = 64;

template <typename T>
void run_gemm(Queue& queue, const api::Gemm& args) {
  const core::Shape &a = args.a.shape(), &b = args.b.shape();
  Product<T> p;
  p.m = args.c.shape()[0];
  p.n = args.c.shape()[1];
  p.k = args.transpose_a ? a[0] : a[1];
  p.a = args.a.data<T>();
  p.a_m = args.transpose_a ? 1 : a[1];
  p.a_k = args.transpose_a ? a[1] : 1;
  p.b = args.b.data<T>();
  p.b_k = args.transpose_b ? 1 : b[1];
  p.b_n = args.transpose_b ? b[1] : 1;
  p.c = args.c.data<T>();
  p.c_m = p.n;
  p.alpha = static_cast<T>(args.alpha);
  p.beta = static_cast<T>(args.beta);
  multiply(queue, "gemm", p);
}

template <typename T>
void run_syrk(Queue& queue, const api::Syrk& args) {
  const core::Shape& a = args.a.shape();
  const Index n = args.c.shape()[0];
  T* c = args.c.data<T>();
  Product<T> p;
  p.m = p.n = n;
  p.k = args.transpose ? a[0] : a[1];
  p.a = p.b = args.a.data<T>();
  p.a_m = p.b_n = args.transpose ? 1 : a[1];
  p.a_k = p.b_k = args.transpose ? a[1] : 1;
  p.c = c;
  p.c_m = n;
  p.alpha = static_cast<T>(args.alpha);
  p.beta = static_cast<T>(args.beta);
  p.lower_only = true;
  multiply(queue, "syrk", p);
  for_rows(
      queue, "syrk", n, n, KOKKOS_LAMBDA(Index i, Index begin, Index end) {
        for (Index j = Kokkos::max(begin, i + 1); j < end; ++j) c[i * n + j] = c[j * n + i];
      });
}

/// Factors the diagonal block [k, k + size) of a; *info becomes 1 + the first column without a
/// positive pivot. Once *info is set, nothing is done any more.
template <typename T>
void factor_diagonal(const Queue& queue, T* a, Index n, Index k, Index size, int* info) {
  T* block = a + k * n + k;
  Kokkos::parallel_for(
      "cholesky", Range(queue.space, 0, 1), KOKKOS_LAMBDA(Index) {
        if (*info != 0) return;
        for (Index j = 0; j < size; ++j) {
          T* row = block + j * n;
          for (Index i = 0; i <= j; ++i) {
            const T* other = block + i * n;
            T sum = row[i];
            for (Index l = 0; l < i; ++l) sum -= row[l] * other[l];
            if (i < j) {
              row[i] = sum / other[i];
            } else if (sum > T(0)) {
              row[j] = Kokkos::sqrt(sum);
            } else {
              *info = static_cast<int>(k + j + 1);  // NaN comes here, too
              return;
            }
          }
        }
      });
}

/// Rows below the diagonal block: a[i, k..] = a[i, k..] L^-T.
template <typename T>
void solve_panel(const Queue& queue, T* a, Index n, Index k, Index size, const int* info) {
  const T* block = a + k * n + k;
  Kokkos::parallel_for(
      "cholesky", Range(queue.space, k + size, n), KOKKOS_LAMBDA(Index i) {
        if (*info != 0) return;
        T* row = a + i * n + k;
        for (Index j = 0; j < size; ++j) {
          T sum = row[j];
          for (Index l = 0; l < j; ++l) sum -= row[l] * block[j * n + l];
          row[j] = sum / block[j * n + j];
        }
      });
}

template <typename T>
int run_cholesky(Queue& queue, const api::Cholesky& args) {
  const Workspace::Frame frame(queue.workspace);
  const Index n = args.a.shape()[0];
  T* a = args.a.data<T>();
  int* info = queue.workspace.take<int>(1);
  Kokkos::parallel_for(
      "cholesky", Range(queue.space, 0, 1), KOKKOS_LAMBDA(Index) { *info = 0; });
  for (Index k = 0; k < n; k += kBlock) {
    const Index size = std::min(kBlock, n - k), next = k + size;
    factor_diagonal(queue, a, n, k, size, info);
    if (next == n) break;
    solve_panel(queue, a, n, k, size, info);
    Product<T> p;  // trailing matrix -= panel panel^T
    p.m = p.n = n - next;
    p.k = size;
    p.a = p.b = a + next * n + k;
    p.a_m = p.b_n = n;
    p.a_k = p.b_k = 1;
    p.c = a + next * n + next;
    p.c_m = n;
    p.alpha = T(-1);
    p.beta = T(1);
    p.lower_only = true;
    multiply(queue, "cholesky", p);
  }
  for_rows(
      queue, "cholesky", n, n, KOKKOS_LAMBDA(Index i, Index begin, Index end) {
        for (Index j = Kokkos::max(begin, i + 1); j < end; ++j) a[i * n + j] = T(0);
      });
  return read_back(queue, info);
}

/// t x = b for one diagonal block and every right-hand side, element (i, j) of t at i t_row + j
/// t_column.
template <typename T>
void solve_block(const Queue& queue, const T* t, Index t_row, Index t_column, bool lower,
                 Index size, T* b, Index b_row, Index b_column, Index columns) {
  const Index step = lower ? 1 : -1, start = lower ? 0 : size - 1;
  for_elements(
      queue, "triangular_solve", columns, KOKKOS_LAMBDA(Index begin, Index end) {
        for (Index a = 0; a < size; ++a) {
          const Index i = start + step * a;
          T* x = b + i * b_row;
          for (Index d = 0; d < a; ++d) {
            const Index j = start + step * d;
            const T factor = t[i * t_row + j * t_column];
            const T* known = b + j * b_row;
            for (Index c = begin; c < end; ++c) x[c * b_column] -= factor * known[c * b_column];
          }
          const T diagonal = t[i * t_row + i * t_column];
          for (Index c = begin; c < end; ++c) x[c * b_column] /= diagonal;
        }
      });
}

template <typename T>
void run_triangular_solve(Queue& queue, const api::TriangularSolve& args) {
  const Index n = args.l.shape()[0], columns = args.left ? args.b.shape()[1] : args.b.shape()[0];
  const T* l = args.l.data<T>();
  T* b = args.b.data<T>();
  // B op(L)^-1 = (op(L)^-T B^T)^T: from the right it is the solve from the left of the transposes.
  const bool transposed = args.left == args.transpose;
  const Index t_row = transposed ? 1 : n, t_column = transposed ? n : 1;
  const Index b_row = args.left ? columns : 1, b_column = args.left ? 1 : n;
  const bool lower = args.lower != transposed;
  const Index blocks = (n + kBlock - 1) / kBlock;
  for (Index step = 0; step < blocks && columns > 0; ++step) {
    const Index k = (lower ? step : blocks - 1 - step) * kBlock, size = std::min(kBlock, n - k);
    solve_block(queue, l + k * (t_row + t_column), t_row, t_column, lower, size, b + k * b_row,
                b_row, b_column, columns);
    const Index first = lower ? k + size : 0, rest = lower ? n - first : k;
    if (rest == 0) continue;
    Product<T> p;  // the rows still to solve -= their part of T times the rows just solved
    p.m = rest;
    p.n = columns;
    p.k = size;
    p.a = l + first * t_row + k * t_column;
    p.a_m = t_row;
    p.a_k = t_column;
    p.b = b + k * b_row;
    p.b_k = b_row;
    p.b_n = b_column;
    p.c = b + first * b_row;
    p.c_m = b_row;
    p.c_n = b_column;
    p.alpha = T(-1);
    p.beta = T(1);
    multiply(queue, "triangular_solve", p);
  }
}

/// M = L^-1 by a solve, then the inverse as M^T M: the lower triangle, mirrored.
template <typename T>
int run_cholesky_inverse(Queue& queue, const api::CholeskyInverse& args) {
  const Workspace::Frame frame(queue.workspace);
  const Index n = args.a.shape()[0];
  if (n == 0) return 0;
  T *a = args.a.data<T>(), *m = queue.workspace.take<T>(n * n);
  int* info = queue.workspace.take<int>(1);
  Kokkos::parallel_for(
      "cholesky_inverse", Range(queue.space, 0, 1), KOKKOS_LAMBDA(Index) {
        *info = 0;
        for (Index i = n; i-- > 0;) {
          if (a[i * n + i] == T(0)) *info = static_cast<int>(i + 1);
        }
      });
  if (const int zero = read_back(queue, info)) return zero;
  for_rows(
      queue, "cholesky_inverse", n, n, KOKKOS_LAMBDA(Index i, Index begin, Index end) {
        for (Index j = begin; j < end; ++j) m[i * n + j] = i == j ? T(1) : T(0);
      });
  const auto matrix = [&](T* data) {
    return core::Tensor::borrow(data, {n, n}, args.a.dtype(), args.a.device());
  };
  run_triangular_solve<T>(queue, {.l = args.a, .b = matrix(m)});
  run_syrk<T>(queue, {.a = matrix(m), .c = args.a, .transpose = true});
  return 0;
}

class Linalg final : public api::LinalgOps {
 public:
  explicit Linalg(Queue& queue) : queue_(queue) {}

 private:
  void do_gemm(const api::Gemm& args) override {
    with_float(args.a.dtype(), [&](auto t) { run_gemm<decltype(t)>(queue_, args); });
  }
  void do_syrk(const api::Syrk& args) override {
    with_float(args.a.dtype(), [&](auto t) { run_syrk<decltype(t)>(queue_, args); });
  }
  int do_cholesky(const api::Cholesky& args) override {
    return with_float(args.a.dtype(),
                      [&](auto t) { return run_cholesky<decltype(t)>(queue_, args); });
  }
  int do_cholesky_inverse(const api::CholeskyInverse& args) override {
    return with_float(args.a.dtype(),
                      [&](auto t) { return run_cholesky_inverse<decltype(t)>(queue_, args); });
  }
  int do_symmetric_eigen(const api::SymmetricEigen& args) override {
    return with_float(args.a.dtype(), [&](auto t) {
      using T = decltype(t);
      return kokkos::symmetric_eigen<T>(queue_, args.a.shape()[0], args.a.data<T>(),
                                        args.w.data<T>());
    });
  }
  void do_triangular_solve(const api::TriangularSolve& args) override {
    with_float(args.l.dtype(), [&](auto t) { run_triangular_solve<decltype(t)>(queue_, args); });
  }

  Queue& queue_;
};

}  // namespace

std::unique_ptr<api::LinalgOps> make_linalg(Queue& queue) {
  return std::make_unique<Linalg>(queue);
}

}  // namespace isaribi::kokkos
