// SPDX-License-Identifier: MIT
// Factors of the simd backend have the same bits for any number of threads, and so have the
// decompositions, which LAPACK does on the calling thread.
#include "simd_support.hpp"

using namespace isaribi;
using namespace isaribi::testing;
using core::DType;
using core::Tensor;

namespace {

struct Shape {
  std::int64_t n, h, w, i, kh, kw;
  api::ConvGeometry g;
};

/// Linear layers, and positions of gradients, as K-FAC wants them: few, wide, of several parts, of
/// slices.
const core::Shape kRows[] = {{130, 1, 1, 7},   {130, 1, 1, 150}, {130, 1, 1, 401},
                             {1100, 1, 1, 90}, {96, 8, 8, 32},   {64, 7, 7, 100}};

/// The packed factor of x with a bias.
Tensor packed(const core::Shape& x) {
  return Tensor({1, (x[3] + 1) * (x[3] + 2) / 2}, DType::f64);
}
void add_rows(api::Backend& backend, const Tensor& x, const Tensor& a, bool accumulate = false) {
  backend.factor().patch_covariance({.x = x, .bias = true, .a = a, .accumulate = accumulate});
}

/// All ways of cutting a factor, with few tiles (blocks are dealt to lanes) and many, a
/// block that is cut into rounds, groups, and matrices for LAPACK.
std::vector<Tensor> factors(api::Backend& backend) {
  const Shape shapes[] = {{200, 6, 6, 5, 1, 1, {}},
                          {130, 1, 1, 150, 1, 1, {}},
                          {97, 9, 8, 1, 5, 5, {1, 1, 2, 2, 2, 2}},
                          {70, 7, 7, 20, 3, 3, {1, 1, 1, 1, 1, 1}},
                          {65, 9, 9, 16, 3, 3, {2, 2, 1, 1, 1, 1}},
                          {66, 6, 6, 6, 3, 3, {1, 1, 1, 1, 1, 1, 1, 1, 3}},
                          {40, 60, 60, 16, 3, 3, {1, 1, 1, 1, 1, 1}}};
  std::vector<Tensor> out;
  for (const Shape& s : shapes) {
    const std::int64_t length = s.kh * s.kw * s.i / s.g.groups + 1;
    out.emplace_back(core::Shape{s.g.groups, length, length}, DType::f32);
    backend.factor().patch_covariance({.x = waves({s.n, s.h, s.w, s.i}, 0.37),
                                       .kh = s.kh,
                                       .kw = s.kw,
                                       .geometry = s.g,
                                       .bias = true,
                                       .a = out.back()});
  }
  for (const core::Shape& rows : kRows) {
    out.push_back(packed(rows));
    add_rows(backend, waves(rows, 0.37), out.back());
  }
  out.emplace_back(core::Shape{1, 148 * 149 / 2}, DType::f64);  // gathered
  backend.factor().patch_covariance({.x = waves({40, 30, 27, 3}, 0.37),
                                     .kh = 7,
                                     .kw = 7,
                                     .geometry = {2, 2, 3, 3, 3, 3},
                                     .bias = true,
                                     .a = out.back()});
  const Tensor x = waves({37, 9, 7, 13}, 0.37), dy = waves(x.shape(), 0.53), v = waves({13}, 1.1);
  out.emplace_back(core::Shape{3, 13}, DType::f64);
  backend.factor().norm_fisher(
      {.x = x, .y = {}, .dy = dy, .mean = v, .inv_std = v, .sums = out.back()});
  out.emplace_back(core::Shape{37, 1, 118}, DType::f32);
  backend.factor().patch_mean(
      {.x = x, .kh = 3, .kw = 3, .geometry = {}, .bias = true, .out = out.back()});
  return out;
}

/// Cholesky factor, inverse, eigenvectors and eigenvalues of a damped factor of order `n`.
template <typename T>
std::vector<Tensor> decompositions(api::Backend& backend, std::int64_t n) {
  const DType type = core::dtype_of<T>;
  const Tensor a({n, n}, type);
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t j = 0; j < n; ++j) {
      const double wave = std::cos(0.01 * static_cast<double>((i - j) * (i - j)));
      a.data<T>()[i * n + j] = static_cast<T>(wave + (i == j ? static_cast<double>(n) : 0.0));
    }
  }
  const auto copy = [&] {
    const Tensor c({n, n}, type);
    backend.copy(a, c);
    return c;
  };
  const Tensor l = copy(), v = copy(), w({n}, type), inverse({n, n}, type);
  CHECK(backend.linalg().cholesky({l}) == 0);
  backend.copy(l, inverse);
  CHECK(backend.linalg().cholesky_inverse({inverse}) == 0);
  CHECK(backend.linalg().symmetric_eigen({v, w}) == 0);
  return {l, inverse, v, w};
}

}  // namespace

TEST_CASE("what a layer leaves in scratch memory does not reach the factor of the next") {
  for_each_level([](api::Backend& backend, const std::string& isa) {
    const auto factor = [&](const Tensor& x) {
      const Tensor a({1, 10, 10}, DType::f32);
      backend.factor().patch_covariance(
          {.x = x, .kh = 3, .kw = 3, .geometry = {1, 1, 1, 1, 1, 1}, .bias = true, .a = a});
      return a;
    };
    for (const std::int64_t width : {8, 16}) {  // rows of whole vectors
      const Tensor x = waves({2, 8, width, 1}, 0.37), before = factor(x);
      for (const int threads : {1, 7}) {
        omp_set_num_threads(threads);
        factor(waves({300, 27, 29, 1}, 0.71));
        INFO(isa << ", width " << width << ", threads " << threads);
        CHECK(same_bits(before, factor(x)));
      }
    }
  });
}

TEST_CASE("the factors of simd, and what is made of them, do not depend on the number of threads") {
  for_each_level([](api::Backend& backend, const std::string& isa) {
    compare_threads(isa, [&] {
      std::vector<Tensor> all = factors(backend);
      for (const std::int64_t n : {40, 401}) {
        for (const Tensor& m : decompositions<float>(backend, n)) all.push_back(m);
        for (const Tensor& m : decompositions<double>(backend, n)) all.push_back(m);
      }
      return all;
    });
  });
}

TEST_CASE("factors of rows are the sums of what ranks of whole blocks of samples give") {
  for_each_level([](api::Backend& backend, const std::string& isa) {
    for (const core::Shape& shape : kRows) {
      const Tensor x = waves(shape, 0.37), whole = packed(shape), sum = packed(shape);
      add_rows(backend, x, whole);
      const std::int64_t sample = shape[1] * shape[2] * shape[3];
      for (std::int64_t first = 0; first < shape[0]; first += api::kSampleBlock) {
        const std::int64_t n = std::min(api::kSampleBlock, shape[0] - first);
        const Tensor part({n, shape[1], shape[2], shape[3]}, DType::f32);
        std::copy_n(x.data<float>() + first * sample, n * sample, part.data<float>());
        add_rows(backend, part, sum, first > 0);
      }
      double worst = 0;
      for (std::int64_t i = 0; i < sum.count(); ++i)
        worst = std::max(worst, std::fabs(sum.data<double>()[i] - whole.data<double>()[i]));
      INFO(isa << ", rows " << shape.text());
      CHECK(worst <= 1e-12 * static_cast<double>(shape[0] * shape[1] * shape[2]));
    }
  });
}
