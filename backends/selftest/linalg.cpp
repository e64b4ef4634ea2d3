// SPDX-License-Identifier: MIT
// Cases of dense linear algebra. Products are compared element by element; factorisations and
// solves by their residuals, because their elements depend on the conditioning of the input
// (Higham, Accuracy and Stability of Numerical Algorithms, ch. 8, 10; LAPACK Users' Guide, 4).
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "backends/selftest/case.hpp"

namespace isaribi::selftest {
namespace {

using core::DType;
using core::Shape;
using Matrix = std::vector<double>;  // row-major

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();

double& at(Matrix& m, std::int64_t columns, std::int64_t i, std::int64_t j) {
  return m[static_cast<std::size_t>(i * columns + j)];
}
double at(const Matrix& m, std::int64_t columns, std::int64_t i, std::int64_t j) {
  return m[static_cast<std::size_t>(i * columns + j)];
}

void add_gemm_cases(CaseList& list, DType type) {
  struct Row {
    std::int64_t m, n, k;
    double alpha, beta;
  };
  const Row rows[] = {
      {1, 1, 1, 1.0, 0.0},       {0, 3, 2, 1.0, 0.0},       {3, 0, 2, 1.0, 0.5},
      {4, 5, 0, 1.0, 0.0},       {4, 5, 0, 2.0, 0.5},       {3, 5, 7, 1.0, 0.0},
      {3, 5, 7, -0.5, 1.0},      {6, 6, 6, 0.0, 2.0},       {1, 100, 64, 1.0, 0.25},
      {128, 1, 300, 1.0, 0.0},   {17, 33, 16, 2.0, -0.75},  {64, 64, 64, 1.0, 1.0},
      {65, 130, 257, 1.0, 0.0},  {200, 260, 600, 1.0, 0.5}, {9, 2100, 390, 1.0, 1.0},
      {700, 40, 390, 1.0, 0.5},  {65, 130, 2100, 1.0, 0.5}, {300, 36, 40, 2.0, 0.0},
      {261, 17, 700, 1.0, 0.0},  {400, 3, 30, 1.0, 0.0},    {70, 1024, 40, 1.0, 0.5},
      {3, 70, 1300, 0.5, 1.0},   {16, 2048, 600, 1.0, 0.0}, {48, 16, 90, 1.0, 0.5},
      {530, 130, 1010, 1.0, 0.5}};
  for (const Row& r : rows) {
    for (const bool ta : {false, true}) {
      for (const bool tb : {false, true}) {
        const auto text =
            fmt::format("m {} n {} k {}, op(A) {} op(B) {}, alpha {} beta {}", r.m, r.n, r.k,
                        ta ? "A^T" : "A", tb ? "B^T" : "B", r.alpha, r.beta);
        list.add(api::Op::gemm, type, text, [=](Trial& t) {
          api::Gemm a;
          const Bound bound = Bound::absolute(type, r.k);
          a.a = t.in("a", ta ? Shape{r.k, r.m} : Shape{r.m, r.k}, type);
          a.b = t.in("b", tb ? Shape{r.n, r.k} : Shape{r.k, r.n}, type);
          a.c = r.beta == 0.0 ? t.out("c", {r.m, r.n}, type, bound)
                              : t.inout("c", {r.m, r.n}, type, {}, bound);
          a.transpose_a = ta;
          a.transpose_b = tb;
          a.alpha = t.scalar(r.alpha);
          a.beta = t.scalar(r.beta);
          t.backend().linalg().gemm(a);
        });
      }
    }
  }
}

/// A symmetric matrix: one draw per unordered pair, by a hash of the pair that needs no state.
Values symmetric(std::int64_t n) {
  return Values([n](std::int64_t k, double) {
    const std::int64_t i = std::max(k / n, k % n), j = std::min(k / n, k % n);
    return std::sin(static_cast<double>(37 * i + 101 * j + i * j) + 1.0);
  });
}

void add_syrk_cases(CaseList& list, DType type) {
  struct Row {
    std::int64_t n, k;
    double alpha, beta;
  };
  const Row rows[] = {{1, 1, 1.0, 0.0},      {0, 4, 1.0, 0.0},      {3, 0, 1.0, 0.5},
                      {3, 0, 1.0, 0.0},      {5, 7, 1.0, 0.0},      {16, 33, -2.0, 1.0},
                      {17, 5, 1.0, 0.9},     {64, 64, 0.5, 0.0},    {97, 200, 1.0, 0.95},
                      {200, 520, 1.0, 0.0},  {700, 390, 1.0, 0.5},  {2100, 3, 1.0, 0.0},
                      {70, 4500, 0.5, 0.25}, {300, 4200, 1.0, 0.0}, {1024, 20, 1.0, 0.0}};
  for (const Row& r : rows) {
    for (const bool transpose : {false, true}) {
      const auto text = fmt::format("n {} k {}, {}, alpha {} beta {}", r.n, r.k,
                                    transpose ? "A^T A" : "A A^T", r.alpha, r.beta);
      list.add(api::Op::syrk, type, text, [=](Trial& t) {
        api::Syrk a;
        const Bound bound = Bound::absolute(type, r.k);
        a.a = t.in("a", transpose ? Shape{r.k, r.n} : Shape{r.n, r.k}, type);
        a.c = r.beta == 0.0 ? t.out("c", {r.n, r.n}, type, bound)
                            : t.inout("c", {r.n, r.n}, type, symmetric(r.n), bound);
        a.transpose = transpose;
        a.alpha = t.scalar(r.alpha);
        a.beta = t.scalar(r.beta);
        t.backend().linalg().syrk(a);
        const Matrix c = t.read(a.c);
        double differing = 0.0;
        for (std::int64_t i = 0; i < r.n; ++i) {
          for (std::int64_t j = 0; j < i; ++j)
            differing += at(c, r.n, i, j) == at(c, r.n, j, i) ? 0.0 : 1.0;
        }
        t.measure("pairs of elements across the diagonal that differ", differing, 0.5);
      });
    }
  }
}

/// B B^T / n + I with the strict upper triangle NaN: it must not be read.
Matrix positive_definite(std::int64_t n) {
  Matrix b(static_cast<std::size_t>(n * n)), a(b.size(), kNaN);
  for (std::int64_t k = 0; k < n * n; ++k)
    b[static_cast<std::size_t>(k)] = std::sin(static_cast<double>(k * k % 1009) + 0.7);
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t j = 0; j <= i; ++j) {
      double sum = i == j ? 1.0 : 0.0;
      for (std::int64_t k = 0; k < n; ++k)
        sum += at(b, n, i, k) * at(b, n, j, k) / static_cast<double>(n);
      at(a, n, i, j) = sum;
    }
  }
  return a;
}

Values values_of(const Matrix& m) {
  return m.empty() ? Values() : Values::list(m);
}

void add_cholesky_cases(CaseList& list, DType type) {
  for (const std::int64_t n : {0, 1, 2, 5, 16, 19, 33, 64, 130, 300, 350}) {
    list.add_self_judging(api::Op::cholesky, type, fmt::format("n {}", n), [=](Trial& t) {
      const core::Tensor a = t.inout("a", {n, n}, type, values_of(positive_definite(n)), {});
      t.measure("|info|", std::abs(t.backend().linalg().cholesky({a})), 0.5);
      const Matrix before = t.initial(a), l = t.read(a);
      double residual = 0.0, above = 0.0, norm = 0.0;
      for (std::int64_t i = 0; i < n; ++i) {
        for (std::int64_t j = 0; j < n; ++j) {
          if (j > i) {
            above += at(l, n, i, j) == 0.0 ? 0.0 : 1.0;
            continue;
          }
          double sum = -at(before, n, i, j);
          for (std::int64_t k = 0; k <= j; ++k) sum += at(l, n, i, k) * at(l, n, j, k);
          residual = std::max(residual, std::isnan(sum) ? kInf : std::fabs(sum));
          norm = std::max(norm, std::fabs(at(before, n, i, j)));
        }
      }
      t.measure("max |L L^T - A|", residual,
                epsilon_of(type) * (4.0 + 2.0 * std::sqrt(static_cast<double>(n))) * norm);
      t.measure("elements above the diagonal of L that are not 0", above, 0.5);
    });
  }
  struct Bad {
    const char* what;
    double pivot;
    std::int64_t n, place;
  };
  for (const Bad& bad : {Bad{"negative", -1.0, 5, 2},
                         {"zero", 0.0, 5, 2},
                         {"NaN", kNaN, 5, 2},
                         {"negative", -1.0, 70, 0},
                         {"zero", 0.0, 70, 7},
                         {"NaN", kNaN, 70, 18},
                         {"zero", 0.0, 70, 49},
                         {"negative", -1.0, 70, 66}}) {
    const std::string text = fmt::format("{} pivot {} of {}", bad.what, bad.place + 1, bad.n);
    list.add(api::Op::cholesky, type, text, [=](Trial& t) {
      const std::int64_t n = bad.n;
      Matrix m(static_cast<std::size_t>(n * n), 0.0);
      for (std::int64_t i = 0; i < n; ++i) at(m, n, i, i) = i == bad.place ? bad.pivot : 4.0;
      // The contents are undefined after a failure: compare the answer only.
      const core::Tensor a = t.inout("a", {n, n}, type, Values::list(m),
                                     Bound::given(type, 0, std::vector<double>(m.size(), kInf)));
      const int info = t.backend().linalg().cholesky({a});
      t.write(a, Matrix(m.size(), 0.0));
      t.result("info", info, Bound::exact());
    });
  }
}

/// A factor with the strict upper triangle NaN: it must not be read.
Matrix lower_factor(std::int64_t n) {
  Matrix l(static_cast<std::size_t>(n * n), kNaN);
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t j = 0; j < i; ++j)
      at(l, n, i, j) = std::sin(static_cast<double>(31 * i + 17 * j)) / std::sqrt(double(n));
    at(l, n, i, i) = 1.0 + static_cast<double>(i % 7) / 4.0;
  }
  return l;
}

void add_cholesky_inverse_cases(CaseList& list, DType type) {
  for (const std::int64_t n : {0, 1, 2, 5, 16, 19, 33, 64, 130, 300, 350}) {
    list.add_self_judging(api::Op::cholesky_inverse, type, fmt::format("n {}", n), [=](Trial& t) {
      const core::Tensor a = t.inout("a", {n, n}, type, values_of(lower_factor(n)), {});
      t.measure("|info|", std::abs(t.backend().linalg().cholesky_inverse({a})), 0.5);
      const Matrix l = t.initial(a), x = t.read(a);
      // L^T X = L^-1 has no entries above its diagonal and 1 / L_ii on it: judged as multiples of
      // eps sum |L^T| |X|, with the factor n of the error of an inverse (Higham, 14.1).
      double worst = 0.0, differing = 0.0;
      for (std::int64_t i = 0; i < n; ++i) {
        for (std::int64_t j = 0; j < n; ++j) {
          if (j < i) {
            differing += at(x, n, i, j) == at(x, n, j, i) ? 0.0 : 1.0;
            continue;
          }
          double sum = i == j ? -1.0 / at(l, n, i, i) : 0.0, scale = std::fabs(sum);
          for (std::int64_t k = i; k < n; ++k) {
            sum += at(l, n, k, i) * at(x, n, k, j);
            scale += std::fabs(at(l, n, k, i) * at(x, n, k, j));
          }
          const double ratio = sum == 0.0 ? 0.0 : std::fabs(sum) / scale;
          worst = std::max(worst, std::isnan(ratio) ? kInf : ratio);
        }
      }
      t.measure("residual of L^T X = L^-1", worst,
                epsilon_of(type) * (4.0 + 4.0 * static_cast<double>(n)));
      t.measure("pairs of elements across the diagonal that differ", differing, 0.5);
    });
  }
  list.add_self_judging(api::Op::cholesky_inverse, type, "after cholesky, n 120", [=](Trial& t) {
    const std::int64_t n = 120;
    const core::Tensor a = t.inout("a", {n, n}, type, values_of(positive_definite(n)), {});
    t.measure("|info|", std::abs(t.backend().linalg().cholesky({a})), 0.5);
    t.measure("|info|", std::abs(t.backend().linalg().cholesky_inverse({a})), 0.5);
    const Matrix before = t.initial(a), x = t.read(a);
    double residual = 0.0;
    for (std::int64_t i = 0; i < n; ++i) {
      for (std::int64_t j = 0; j < n; ++j) {
        double sum = i == j ? -1.0 : 0.0;
        for (std::int64_t k = 0; k < n; ++k)
          sum += at(before, n, std::max(i, k), std::min(i, k)) * at(x, n, k, j);
        residual = std::max(residual, std::isnan(sum) ? kInf : std::fabs(sum));
      }
    }
    t.measure("max |A X - I|", residual, epsilon_of(type) * 4.0 * static_cast<double>(n));
  });
  list.add(api::Op::cholesky_inverse, type, "zero third pivot", [=](Trial& t) {
    Matrix m(25, 0.0);
    for (std::int64_t i = 0; i < 5; ++i) at(m, 5, i, i) = i == 2 ? 0.0 : 4.0;
    const core::Tensor a = t.inout("a", {5, 5}, type, Values::list(m),
                                   Bound::given(type, 0, std::vector<double>(25, kInf)));
    const int info = t.backend().linalg().cholesky_inverse({a});
    t.write(a, Matrix(25, 0.0));
    t.result("info", info, Bound::exact());
  });
}

/// A = V diag(w) V^T for the given symmetric matrix: residual, orthogonality, order.
void judge_eigen(Trial& t, DType type, std::int64_t n, const core::Tensor& a,
                 const core::Tensor& w) {
  const Matrix before = t.initial(a), v = t.read(a), values = t.read(w);
  const auto symmetric_at = [&](std::int64_t i, std::int64_t j) {
    return at(before, n, std::max(i, j), std::min(i, j));
  };
  double residual = 0.0, orthogonality = 0.0, norm = 0.0, order = 0.0;
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t k = 0; k < n; ++k) {
      double r = -at(v, n, i, k) * values[static_cast<std::size_t>(k)];
      double o = i == k ? -1.0 : 0.0;
      for (std::int64_t j = 0; j < n; ++j) {
        r += symmetric_at(i, j) * at(v, n, j, k);
        o += at(v, n, j, i) * at(v, n, j, k);
      }
      residual = std::max(residual, std::isnan(r) ? kInf : std::fabs(r));
      orthogonality = std::max(orthogonality, std::isnan(o) ? kInf : std::fabs(o));
      norm += symmetric_at(i, k) * symmetric_at(i, k);
    }
    const auto k = static_cast<std::size_t>(i);
    if (i > 0 && values[k] < values[k - 1]) order += 1.0;
  }
  const double size = static_cast<double>(std::max<std::int64_t>(n, 4));
  t.measure("max |A V - V W|", residual, 2.0 * size * epsilon_of(type) * std::sqrt(norm));
  t.measure("max |V^T V - I|", orthogonality, 2.0 * size * epsilon_of(type));
  t.measure("eigenvalues out of order", order, 0.5);
}

void add_eigen_cases(CaseList& list, DType type) {
  struct Row {
    const char* what;
    std::int64_t n;
    std::function<double(std::int64_t, std::int64_t)> at;
  };
  const auto wave = [](std::int64_t i, std::int64_t j) {
    return std::cos(static_cast<double>(i * j + 3 * i + 5 * j + 1));
  };
  const std::vector<Row> rows = {
      {"empty", 0, wave},
      {"1 x 1", 1, wave},
      {"2 x 2", 2, wave},
      {"random", 5, wave},
      {"random", 17, wave},
      {"random", 64, wave},
      {"random", 100, wave},
      {"random", 160, wave},
      {"identity", 8, [](auto i, auto j) { return i == j ? 1.0 : 0.0; }},
      {"zero", 6, [](auto, auto) { return 0.0; }},
      {"diagonal, descending", 9, [](auto i, auto j) { return i == j ? 9.0 - double(i) : 0.0; }},
      {"rank one", 12, [](auto i, auto j) { return double(i + 1) * double(j + 1); }},
      {"two clusters", 16, [](auto i, auto j) { return i % 2 == j % 2 ? 1.0 : 0.0; }},
      {"graded", 10, [](auto i, auto j) { return std::pow(10.0, -0.5 * double(i + j)); }},
      {"tiny", 7, [](auto i, auto j) { return 1e-20 * std::sin(double(i + j + 1)); }},
  };
  for (const Row& r : rows) {
    list.add(api::Op::symmetric_eigen, type, fmt::format("{}, n {}", r.what, r.n), [=](Trial& t) {
      const std::int64_t n = r.n;
      Matrix m(static_cast<std::size_t>(n * n), kNaN);  // the upper triangle must not be read
      double norm = 0.0;
      for (std::int64_t i = 0; i < n; ++i) {
        for (std::int64_t j = 0; j <= i; ++j) {
          at(m, n, i, j) = r.at(i, j);
          norm += 2.0 * r.at(i, j) * r.at(i, j);
        }
      }
      const std::vector<double> scale(static_cast<std::size_t>(n), std::sqrt(norm));
      // Eigenvectors are judged by residuals, not compared: their signs and, in a cluster, their
      // directions are free.
      const std::vector<double> free(static_cast<std::size_t>(n * n), kInf);
      const core::Tensor a = t.inout("a", {n, n}, type, values_of(m), Bound::given(type, 0, free));
      const core::Tensor w = t.out("w", {n}, type, Bound::given(type, n, scale));
      t.result("info", t.backend().linalg().symmetric_eigen({a, w}), Bound::exact());
      judge_eigen(t, type, n, a, w);
    });
  }
}

void add_triangular_solve_case(CaseList& list, DType type, std::int64_t n, std::int64_t m,
                               api::TriangularSolve a) {
  const auto text = fmt::format("n {} m {}, {}, {}, {}", n, m, a.left ? "left" : "right",
                                a.lower ? "lower" : "upper", a.transpose ? "transposed" : "plain");
  list.add_self_judging(api::Op::triangular_solve, type, text, [=](Trial& t) mutable {
    a.l = t.in("l", {n, n}, type, Values([=](std::int64_t k, double draw) {
                 const std::int64_t i = k / n, j = k % n;
                 if (i == j) return 1.5 + draw;
                 const bool stored = a.lower ? j < i : j > i;  // the rest must not be read
                 return stored ? (2.0 * draw - 1.0) / std::sqrt(static_cast<double>(n)) : kNaN;
               }));
    a.b = t.inout("b", a.left ? Shape{n, m} : Shape{m, n}, type, {}, {});
    t.backend().linalg().triangular_solve(a);
    // op(L) X = B (or X op(L) = B) row by row, as multiples of eps sum |op(L)| |X|.
    const Matrix l = t.initial(a.l), b = t.initial(a.b), x = t.read(a.b);
    const auto op = [&](std::int64_t i, std::int64_t j) {
      const std::int64_t row = a.transpose ? j : i, column = a.transpose ? i : j;
      const bool stored = a.lower ? column <= row : column >= row;
      return stored ? at(l, n, row, column) : 0.0;
    };
    double worst = 0.0;
    for (std::int64_t i = 0; i < n; ++i) {
      for (std::int64_t k = 0; k < m; ++k) {
        double sum = a.left ? -at(b, m, i, k) : -at(b, n, k, i), scale = 0.0;
        for (std::int64_t j = 0; j < n; ++j) {
          const double term = a.left ? op(i, j) * at(x, m, j, k) : at(x, n, k, j) * op(j, i);
          sum += term;
          scale += std::fabs(term);
        }
        const double ratio = sum == 0.0 ? 0.0 : std::fabs(sum) / scale;
        worst = std::max(worst, std::isnan(ratio) ? kInf : ratio);
      }
    }
    t.measure("residual over sum |L| |X|", worst,
              epsilon_of(type) * (4.0 + 2.0 * std::sqrt(static_cast<double>(n))));
  });
}

void add_triangular_solve_cases(CaseList& list, DType type) {
  struct Size {
    std::int64_t n, m;
  };
  for (const Size s :
       {Size{1, 1}, {0, 3}, {3, 0}, {5, 1}, {1, 6}, {17, 9}, {64, 33}, {100, 70}, {260, 130}}) {
    for (const int bits : {0, 1, 2, 3, 4, 5, 6, 7}) {
      api::TriangularSolve a;
      a.left = (bits & 1) != 0;
      a.lower = (bits & 2) != 0;
      a.transpose = (bits & 4) != 0;
      add_triangular_solve_case(list, type, s.n, s.m, a);
    }
  }
}

}  // namespace

void add_linalg_cases(CaseList& list) {
  for (const DType type : kRealTypes) {
    add_gemm_cases(list, type);
    add_syrk_cases(list, type);
    add_cholesky_cases(list, type);
    add_cholesky_inverse_cases(list, type);
    add_eigen_cases(list, type);
    add_triangular_solve_cases(list, type);
  }
}

}  // namespace isaribi::selftest
