// SPDX-License-Identifier: MIT
// f32 products and factors of the simd backend have the same bits for any number of threads: shapes
// that cross cache blocks and end in part of a tile. So have the decompositions, which LAPACK does
// on the calling thread.
#include <omp.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "backends/api/registry.hpp"
#include "backends/reference/register.hpp"
#include "backends/simd/register.hpp"
#include "catch.hpp"

using namespace isaribi;
using core::DType;
using core::Tensor;

namespace {

Tensor waves(const core::Shape& shape, double step) {
  Tensor t(shape, DType::f32);
  for (std::int64_t i = 0; i < t.count(); ++i)
    t.data<float>()[i] = static_cast<float>(std::sin(step * static_cast<double>(i)));
  return t;
}

bool same_bits(const Tensor& a, const Tensor& b) {
  return std::memcmp(a.raw(), b.raw(), a.bytes()) == 0;
}

}  // namespace

namespace {

struct Shape {
  std::int64_t n, h, w, i, kh, kw;
  api::ConvGeometry g;
};

/// Both ways of cutting a factor into tiles, with few tiles (blocks are dealt to lanes) and many, a
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

TEST_CASE("the factors of simd, and what is made of them, do not depend on the number of threads") {
  core::Log log(1);
  api::Registry registry;
  reference::register_backend(registry);
  simd::register_backend(registry);
  for (const api::Entry& entry : registry.entries()) {
    if (entry.name == "simd" && !entry.why_unusable().empty()) return;
  }
  for (const std::string& isa : registry.choices("simd", {}).isa_levels) {
    const auto backend = registry.create("simd", {.isa = isa}, log);
    std::vector<Tensor> of_one;
    for (const int threads : {1, 2, 3, 4, 7}) {
      omp_set_num_threads(threads);
      std::vector<Tensor> all = factors(*backend);
      for (const std::int64_t n : {40, 401}) {
        for (const Tensor& t : decompositions<float>(*backend, n)) all.push_back(t);
        for (const Tensor& t : decompositions<double>(*backend, n)) all.push_back(t);
      }
      if (threads == 1) of_one = all;
      for (std::size_t k = 0; k < all.size(); ++k) {
        INFO(isa << ", " << threads << " threads, result " << k);
        CHECK(same_bits(all[k], of_one[k]));
      }
    }
  }
}

TEST_CASE("products of simd do not depend on the number of threads") {
  core::Log log(1);
  api::Registry registry;
  reference::register_backend(registry);
  simd::register_backend(registry);
  for (const api::Entry& entry : registry.entries()) {
    if (entry.name == "simd" && !entry.why_unusable().empty()) return;
  }
  for (const std::string& isa : registry.choices("simd", {}).isa_levels) {
    const auto backend = registry.create("simd", {.isa = isa}, log);
    const Tensor a = waves({401, 411}, 0.37), b = waves({411, 73}, 0.71);
    Tensor product_of_one, square_of_one;
    for (const int threads : {1, 2, 3, 4}) {
      omp_set_num_threads(threads);
      const Tensor product = waves({401, 73}, 0.11), square = Tensor::zeros({411, 411}, DType::f32);
      backend->linalg().gemm({.a = a, .b = b, .c = product, .alpha = 1.5, .beta = 0.5});
      backend->linalg().syrk({.a = a, .c = square, .transpose = true});
      if (threads == 1) {
        product_of_one = product;
        square_of_one = square;
      }
      INFO(isa << ", " << threads << " threads");
      CHECK(same_bits(product, product_of_one));
      CHECK(same_bits(square, square_of_one));
    }
  }
}
