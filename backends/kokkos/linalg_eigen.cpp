// SPDX-License-Identifier: MIT
// Symmetric eigendecomposition (Golub & Van Loan 2013, sections 8.3.1 to 8.3.3): Householder
// tridiagonalisation on the execution space; implicit QL on the two diagonals on the host, O(n^2)
// scalars; its plane rotations are collected and applied to the eigenvectors on the execution
// space, where the O(n^3) work is.
#include <cmath>
#include <numeric>
#include <vector>

#include "backends/kokkos/eigen.hpp"
#include "backends/kokkos/loops.hpp"

namespace isaribi::kokkos {
namespace {

using Range = Kokkos::RangePolicy<Space, Kokkos::IndexType<Index>>;
using Unmanaged = Kokkos::MemoryTraits<Kokkos::Unmanaged>;

/// Rows row and row + 1 of the transposed eigenvector matrix: (x, y) -> (c x - s y, s x + c y).
struct Rotation {
  Index row;
  double c, s;
};

template <typename V>
void to_host(const Queue& queue, const V* device, std::vector<V>& host) {
  Kokkos::deep_copy(queue.space,
                    Kokkos::View<V*, Kokkos::HostSpace, Unmanaged>(host.data(), host.size()),
                    Kokkos::View<const V*, Memory, Unmanaged>(device, host.size()));
  queue.space.fence("symmetric_eigen");
}
template <typename V>
void to_device(const Queue& queue, const std::vector<V>& host, V* device) {
  Kokkos::deep_copy(queue.space, Kokkos::View<V*, Memory, Unmanaged>(device, host.size()),
                    Kokkos::View<const V*, Kokkos::HostSpace, Unmanaged>(host.data(), host.size()));
  queue.space.fence("symmetric_eigen");
}

/// Column k of a below the diagonal becomes a Householder vector v (v[k + 1] = 1) that maps it to
/// (e, 0, ..); diagonal[k], off[k] = e and beta[k] (H = I - beta v v^T) are set.
void make_reflector(const Queue& queue, double* a, Index n, Index k, double* diagonal, double* off,
                    double* beta, double* v) {
  Kokkos::parallel_for(
      "symmetric_eigen", Range(queue.space, 0, 1), KOKKOS_LAMBDA(Index) {
        double top = 0;
        for (Index i = k + 2; i < n; ++i) top = Kokkos::fmax(top, Kokkos::abs(a[i * n + k]));
        const double alpha = a[(k + 1) * n + k];
        diagonal[k] = a[k * n + k];
        v[k + 1] = 1;
        if (top == 0) {  // already tridiagonal here
          off[k] = alpha;
          beta[k] = 0;
          for (Index i = k + 2; i < n; ++i) v[i] = 0;
          return;
        }
        const double scale = Kokkos::fmax(top, Kokkos::abs(alpha));  // no overflow in the squares
        double sum = 0;
        for (Index i = k + 2; i < n; ++i) sum += (a[i * n + k] / scale) * (a[i * n + k] / scale);
        const double head = alpha / scale, length = Kokkos::sqrt(head * head + sum);
        const double pivot = head <= 0 ? head - length : -sum / (head + length);  // no cancellation
        beta[k] = 2 * pivot * pivot / (sum + pivot * pivot);
        off[k] = length * scale;
        for (Index i = k + 2; i < n; ++i) {
          v[i] = a[i * n + k] / scale / pivot;
          a[i * n + k] = v[i];
        }
        a[(k + 1) * n + k] = 1;
      });
}

/// a <- H a H on the trailing square from k + 1 (stored in full).
void apply_reflector(const Queue& queue, double* a, Index n, Index k, const double* beta,
                     const double* v, double* p) {
  Kokkos::parallel_for(
      "symmetric_eigen", Range(queue.space, k + 1, n), KOKKOS_LAMBDA(Index i) {
        double sum = 0;
        for (Index j = k + 1; j < n; ++j) sum += a[i * n + j] * v[j];
        p[i] = beta[k] * sum;
      });
  Kokkos::parallel_for(
      "symmetric_eigen", Range(queue.space, 0, 1), KOKKOS_LAMBDA(Index) {
        double dot = 0;
        for (Index i = k + 1; i < n; ++i) dot += p[i] * v[i];
        for (Index i = k + 1; i < n; ++i) p[i] -= 0.5 * beta[k] * dot * v[i];
      });
  Kokkos::parallel_for(
      "symmetric_eigen", Range(queue.space, k + 1, n), KOKKOS_LAMBDA(Index i) {
        const double vi = v[i], pi = p[i];
        for (Index j = k + 1; j < n; ++j) a[i * n + j] -= vi * p[j] + pi * v[j];
      });
}

/// z [n, n] = (H_0 H_1 ..)^T: row r of z becomes eigenvector r. Vectors v_k lie in the columns of a
/// below the diagonal.
void form_basis(const Queue& queue, const double* a, Index n, const double* beta, double* z,
                double* v) {
  for_rows(
      queue, "symmetric_eigen", n, n, KOKKOS_LAMBDA(Index i, Index begin, Index end) {
        for (Index j = begin; j < end; ++j) z[i * n + j] = i == j ? 1.0 : 0.0;
      });
  for (Index k = n - 3; k >= 0; --k) {
    Kokkos::parallel_for(
        "symmetric_eigen", Range(queue.space, k + 1, n),
        KOKKOS_LAMBDA(Index i) { v[i] = a[i * n + k]; });
    Kokkos::parallel_for(
        "symmetric_eigen", Range(queue.space, k + 1, n), KOKKOS_LAMBDA(Index i) {
          double* row = z + i * n;
          double sum = 0;
          for (Index j = k + 1; j < n; ++j) sum += row[j] * v[j];
          sum *= beta[k];
          for (Index j = k + 1; j < n; ++j) row[j] -= sum * v[j];
        });
  }
}

/// Applies rotations in order to the rows of z [n, n]; columns are independent.
void rotate(Queue& queue, const std::vector<Rotation>& rotations, Index n, double* z) {
  if (rotations.empty()) return;
  const Workspace::Frame frame(queue.workspace);
  Rotation* list = queue.workspace.take<Rotation>(static_cast<Index>(rotations.size()));
  to_device(queue, rotations, list);
  const Index count = static_cast<Index>(rotations.size()), width = kHost ? 64 : 1;
  Kokkos::parallel_for(
      "symmetric_eigen", Range(queue.space, 0, (n + width - 1) / width), KOKKOS_LAMBDA(Index part) {
        const Index begin = part * width, end = Kokkos::min(begin + width, n);
        for (Index r = 0; r < count; ++r) {
          const double c = list[r].c, s = list[r].s;
          double *x = z + list[r].row * n, *y = x + n;
#pragma omp simd
          for (Index j = begin; j < end; ++j) {
            const double xj = x[j], yj = y[j];
            x[j] = c * xj - s * yj;
            y[j] = s * xj + c * yj;
          }
        }
      });
}

/// One implicit QL step with Wilkinson's shift on the unreduced block [l, m] of (d, e).
void ql_step(std::vector<double>& d, std::vector<double>& e, Index first, Index last,
             std::vector<Rotation>& out) {
  const auto l = static_cast<std::size_t>(first), m = static_cast<std::size_t>(last);
  double g = (d[l + 1] - d[l]) / (2 * e[l]);
  g = d[m] - d[l] + e[l] / (g + std::copysign(std::hypot(g, 1.0), g));
  double s = 1, c = 1, p = 0;
  for (std::size_t i = m; i-- > l;) {
    const double f = s * e[i], b = c * e[i];
    double r = std::hypot(f, g);
    e[i + 1] = r;
    if (r == 0) {  // the block splits here
      d[i + 1] -= p;
      e[m] = 0;
      return;
    }
    s = f / r;
    c = g / r;
    g = d[i + 1] - p;
    r = (d[i] - g) * s + 2 * c * b;
    p = s * r;
    d[i + 1] = g + p;
    g = c * r - b;
    out.push_back({static_cast<Index>(i), c, s});
  }
  d[l] -= p;
  e[l] = g;
  e[m] = 0;
}

/// Eigenvalues of the tridiagonal (d, e) into d; z follows. @return 0, or 1 + the index that did
/// not converge.
int ql(Queue& queue, std::vector<double>& d, std::vector<double>& e, Index n, double* z) {
  constexpr int kMaxSteps = 60;
  const std::size_t batch = 32 * static_cast<std::size_t>(n);
  std::vector<Rotation> rotations;
  for (Index l = 0; l < n; ++l) {
    for (int step = 0;; ++step) {
      Index m = l;
      for (; m < n - 1; ++m) {
        const auto i = static_cast<std::size_t>(m);
        const double size = std::abs(d[i]) + std::abs(d[i + 1]);
        if (std::abs(e[i]) <= std::numeric_limits<double>::epsilon() * size) break;
      }
      if (m == l) break;
      if (step == kMaxSteps) return static_cast<int>(l) + 1;
      ql_step(d, e, l, m, rotations);
      if (rotations.size() >= batch) {
        rotate(queue, rotations, n, z);
        rotations.clear();
      }
    }
  }
  rotate(queue, rotations, n, z);
  return 0;
}

}  // namespace

template <typename T>
int symmetric_eigen(Queue& queue, Index n, T* a, T* w) {
  if (n == 0) return 0;
  const Workspace::Frame frame(queue.workspace);
  double* square = queue.workspace.take<double>(n * n);
  double* z = queue.workspace.take<double>(n * n);
  double* vectors = queue.workspace.take<double>(5 * n);
  double *diagonal = vectors, *off = diagonal + n, *beta = off + n, *v = beta + n, *p = v + n;
  for_rows(
      queue, "symmetric_eigen", n, n, KOKKOS_LAMBDA(Index i, Index begin, Index end) {
        for (Index j = begin; j < end; ++j)
          square[i * n + j] = static_cast<double>(i >= j ? a[i * n + j] : a[j * n + i]);
      });
  for (Index k = 0; k + 2 < n; ++k) {
    make_reflector(queue, square, n, k, diagonal, off, beta, v);
    apply_reflector(queue, square, n, k, beta, v, p);
  }
  Kokkos::parallel_for(
      "symmetric_eigen", Range(queue.space, 0, 1), KOKKOS_LAMBDA(Index) {
        for (Index i = n < 2 ? 0 : n - 2; i < n; ++i) {
          diagonal[i] = square[i * n + i];
          off[i] = i + 1 < n ? square[(i + 1) * n + i] : 0.0;
        }
      });
  form_basis(queue, square, n, beta, z, v);

  std::vector<double> d(static_cast<std::size_t>(n)), e(static_cast<std::size_t>(n));
  to_host(queue, diagonal, d);
  to_host(queue, off, e);
  for (const double x : d) {
    if (!std::isfinite(x)) return 1;
  }
  const int failed = ql(queue, d, e, n, z);
  if (failed != 0) return failed;

  std::vector<Index> order(d.size());
  std::iota(order.begin(), order.end(), Index{0});
  std::stable_sort(order.begin(), order.end(), [&](Index i, Index j) {
    return d[static_cast<std::size_t>(i)] < d[static_cast<std::size_t>(j)];
  });
  Index* sorted = queue.workspace.take<Index>(n);
  to_device(queue, order, sorted);
  to_device(queue, d, diagonal);
  for_rows(
      queue, "symmetric_eigen", n, n, KOKKOS_LAMBDA(Index i, Index begin, Index end) {
        for (Index j = begin; j < end; ++j) a[i * n + j] = static_cast<T>(z[sorted[j] * n + i]);
        if (begin == 0) w[i] = static_cast<T>(diagonal[sorted[i]]);
      });
  queue.space.fence("symmetric_eigen");
  return 0;
}

template int symmetric_eigen<float>(Queue&, Index, float*, float*);
template int symmetric_eigen<double>(Queue&, Index, double*, double*);

}  // namespace isaribi::kokkos
