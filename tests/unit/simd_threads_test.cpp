// SPDX-License-Identifier: MIT
// f32 products, convolutions and linear layers of the simd backend have the same bits for any
// number of threads (gemm.hpp), and in any batch: shapes that cross cache blocks and end in part of
// a tile.
#include <algorithm>
#include <array>
#include <cstring>
#include <span>
#include <utility>

#include "simd_support.hpp"

using namespace isaribi;
using namespace isaribi::testing;
using core::DType;
using core::Tensor;

namespace {

/// A layer: x [n, h, h, i], w [o, k, k, i / groups].
struct Layer {
  std::int64_t n, h, i, o, k, stride, pad, groups;
};

}  // namespace

TEST_CASE("products of simd do not depend on the number of threads") {
  for_each_level([](api::Backend& backend, const std::string& isa) {
    const Tensor a = waves({401, 411}, 0.37), b = waves({411, 73}, 0.71);
    const Tensor tall = waves({5003, 75}, 0.53);  // K in slices
    const Tensor few = waves({29, 800}, 0.29), wide = waves({517, 800}, 0.31);
    compare_threads(isa, [&] {
      const Tensor product = waves({401, 73}, 0.11), square = Tensor::zeros({411, 411}, DType::f32),
                   tall_square = Tensor::zeros({75, 75}, DType::f32);
      backend.linalg().gemm({.a = a, .b = b, .c = product, .alpha = 1.5, .beta = 0.5});
      const Tensor few_rows({29, 517}, DType::f32);  // formed turned
      backend.linalg().gemm({.a = few, .b = wide, .c = few_rows, .transpose_b = true});
      backend.linalg().syrk({.a = a, .c = square, .transpose = true});
      backend.linalg().syrk({.a = tall, .c = tall_square, .transpose = true});
      return std::vector<Tensor>{product, few_rows, square, tall_square};
    });
  });
}

TEST_CASE("rows far apart have the same bits packed and where they lie") {
  // 200 rows of 32 KB are packed, 9 of them are not.
  constexpr std::int64_t m = 200, k = 8192, n = 2051, few = 9;
  omp_set_num_threads(1);
  const Tensor a = waves({m, k}, 0.37), b = waves({k, n}, 0.71);
  for_each_level([&](api::Backend& backend, const std::string& isa) {
    const auto product = [&](const Tensor& rows) {
      const Tensor c = Tensor::zeros({rows.shape()[0], n}, DType::f32);
      backend.linalg().gemm({.a = rows, .b = b, .c = c, .alpha = 1.5});
      return c;
    };
    const Tensor all = product(a);
    for (const std::int64_t i : {0l, 47l, m - few}) {
      INFO(isa << ", from row " << i);
      CHECK(same_bits(product(a.rows(i, i + few)), all.rows(i, i + few)));
    }
  });
}

TEST_CASE("a sample has the same bits in a batch of any size") {
  // Few rows are multiplied in other ways than many; sums of up to 64 terms, too. Ranks that share
  // a batch rely on it.
  constexpr std::int64_t kMost = 70;
  const std::pair<std::int64_t, std::int64_t> shapes[] = {{1300, 130}, {40, 300}, {600, 2048},
                                                          {40, 48},    {48, 37},  {37, 5}};
  for_each_level([&](api::Backend& backend, const std::string&) {
    for (const auto& [in, out] : shapes) {
      const Tensor x = waves({kMost, in}, 0.37), dy = waves({kMost, out}, 0.53);
      const Tensor w = waves({out, in}, 0.71), bias = waves({out}, 0.29);
      const auto run = [&](std::int64_t n) {
        const Tensor some_x({n, in}, DType::f32), some_dy({n, out}, DType::f32);
        std::copy_n(x.data<float>(), n * in, some_x.data<float>());
        std::copy_n(dy.data<float>(), n * out, some_dy.data<float>());
        const Tensor y({n, out}, DType::f32), dx({n, in}, DType::f32);
        backend.linear().forward({.x = some_x, .w = w, .bias = bias, .y = y});
        backend.linear().backward_data({.dy = some_dy, .w = w, .dx = dx});
        return std::pair{y, dx};
      };
      const auto [all_y, all_dx] = run(kMost);
      for (const std::int64_t n : {1, 2, 3, 4, 5, 6, 7, 12, 13, 16, 19, 33}) {
        const auto [y, dx] = run(n);
        INFO(in << " " << out << " n " << n);
        CHECK(std::equal(y.data<float>(), y.data<float>() + n * out, all_y.data<float>()));
        CHECK(std::equal(dx.data<float>(), dx.data<float>() + n * in, all_dx.data<float>()));
      }
    }
  });
}

TEST_CASE("the weight gradient of some outputs has the bits of all outputs") {
  // Ranks that share a weight rely on it.
  for_each_level([&](api::Backend& backend, const std::string&) {
    for (const auto& [n, in, out] : {std::array<std::int64_t, 3>{11, 40, 48},
                                     {11, 48, 37},
                                     {11, 37, 5},
                                     {70, 300, 130},
                                     {96, 1300, 64}}) {
      const Tensor x = waves({n, in}, 0.37), dy = waves({n, out}, 0.53);
      const auto run = [&](std::int64_t begin, std::int64_t end, DType type) {
        const Tensor some({n, end - begin}, DType::f32);
        for (std::int64_t i = 0; i < n; ++i)
          std::copy_n(dy.data<float>() + i * out + begin, end - begin,
                      some.data<float>() + i * (end - begin));
        const Tensor dw({end - begin, in}, type), db({end - begin}, type);
        backend.linear().backward_weights({.x = x, .dy = some, .dw = dw, .db = db});
        return std::pair{dw, db};
      };
      for (const DType type : {DType::f64, DType::f32}) {
        const auto [all, all_b] = run(0, out, type);
        for (const std::int64_t ranks : {2, 3, 5}) {
          for (std::int64_t r = 0; r < ranks; ++r) {
            const std::int64_t begin = out * r / ranks, end = out * (r + 1) / ranks;
            const auto [dw, db] = run(begin, end, type);
            INFO(n << " x " << in << " x " << out << ", outputs " << begin << " to " << end);
            CHECK(same_bits(dw, all.rows(begin, end)));
            CHECK(same_bits(db, all_b.rows(begin, end)));
          }
        }
      }
    }
  });
}

TEST_CASE("an update has the same bits wherever an element stands") {
  // Ranks that share a weight update its rows.
  for_each_level([&](api::Backend& backend, const std::string&) {
    constexpr std::int64_t n = 77;
    for (const DType type : {DType::f32, DType::f64}) {
      const Tensor gradient({n}, type);
      backend.elementwise().axpby(
          {.alpha = 1.0, .x = waves({n}, 0.37), .beta = 0.0, .y = gradient});
      const auto run = [&](std::int64_t begin, std::int64_t end) {
        std::vector<Tensor> results;
        for (const double phase : {0.53, 0.71, 0.29, 0.31, 0.11}) {
          const Tensor all = waves({n}, phase), some({end - begin}, DType::f32);
          for (std::int64_t i = begin; i < end; ++i)
            some.data<float>()[i - begin] = std::abs(all.data<float>()[i]);
          results.push_back(some);
        }
        const Tensor g = gradient.rows(begin, end);
        backend.update().sgd({.w = results[0],
                              .gradient = g,
                              .velocity = results[1],
                              .lr = 0.1,
                              .momentum = 0.9,
                              .l2 = 0.01,
                              .nesterov = true});
        backend.update().adam({.w = results[2],
                               .gradient = g,
                               .m = results[3],
                               .v = results[4],
                               .lr = 0.1,
                               .decay = 0.01,
                               .step = 3});
        return results;
      };
      const std::vector<Tensor> all = run(0, n);
      for (const auto& [begin, end] :
           {std::pair<std::int64_t, std::int64_t>{0, 5}, {3, 77}, {20, 41}}) {
        const std::vector<Tensor> some = run(begin, end);
        for (std::size_t k = 0; k < all.size(); ++k)
          CHECK(same_bits(some[k], all[k].rows(begin, end)));
      }
    }
  });
}

TEST_CASE("Kronecker products of simd do not depend on the number of threads, nor on each other") {
  // Shared by columns, whole, by all threads together (from two or from four threads on).
  const std::pair<std::int64_t, std::int64_t> shapes[] = {
      {120, 401}, {16, 151}, {700, 20}, {300, 100}};
  for_each_level([&](api::Backend& backend, const std::string& isa) {
    const auto run = [&](std::span<const std::pair<std::int64_t, std::int64_t>> layers) {
      std::vector<api::KroneckerProduct> products;
      for (const auto& [m, n] : layers) {
        const Tensor x({m, n}, DType::f32);
        products.push_back({.left = waves({m, m}, 0.37),
                            .x = x,
                            .right = waves({n, n}, 0.53),
                            .half = Tensor({m, n}, DType::f32),
                            .y = Tensor({m, n}, DType::f32),
                            .gather = {{waves({m, n - 1}, 0.71), waves({m, 1}, 0.31)}, x},
                            .parts = {Tensor({m, n - 1}, DType::f32), Tensor({m, 1}, DType::f32)}});
      }
      const auto plan = backend.plan_kronecker(std::move(products));
      plan->run();
      std::vector<Tensor> results;
      for (const api::KroneckerProduct& p : plan->products()) {
        const Tensor inner({1}, DType::f64);
        inner.data<double>()[0] = p.inner;
        results.insert(results.end(), {p.x, p.parts[0], p.parts[1], inner});
      }
      return results;
    };
    compare_threads(isa, [&] { return run(shapes); });
    const std::vector<Tensor> all = run(shapes);
    for (std::size_t i = 0; i < std::size(shapes); ++i) {
      const std::vector<Tensor> alone = run(std::span(shapes).subspan(i, 1));
      for (std::size_t k = 0; k < alone.size(); ++k) CHECK(same_bits(alone[k], all[4 * i + k]));
    }
  });
}

TEST_CASE("a weight gradient does not depend on the convolution before it") {
  for_each_level([](api::Backend& backend, const std::string& isa) {
    const Tensor x = waves({5, 9, 9, 24}, 0.37), dy = waves({5, 9, 9, 32}, 0.53);
    api::ConvGeometry g;
    std::vector<Tensor> gradients;
    for (const std::int64_t kernel : {5, 3}) {  // with a copy of the input, and without
      g.pad_top = g.pad_left = g.pad_bottom = g.pad_right = kernel / 2;
      const Tensor y = Tensor::zeros(dy.shape(), DType::f32);
      backend.conv().forward({x, waves({32, kernel, kernel, 24}, 0.71), {}, y, g});
      g.pad_top = g.pad_left = g.pad_bottom = g.pad_right = 1;
      gradients.push_back(Tensor::zeros({32, 3, 3, 24}, DType::f64));
      backend.conv().backward_weights({x, dy, gradients.back(), {}, g});
    }
    INFO(isa);
    CHECK(std::memcmp(gradients[0].raw(), gradients[1].raw(), gradients[0].bytes()) == 0);
  });
}

TEST_CASE("layers of simd do not depend on the number of threads") {
  for_each_level([](api::Backend& backend, const std::string& isa) {
    const Layer layers[] = {{70, 14, 33, 40, 3, 1, 1, 1},  {35, 9, 160, 100, 3, 1, 1, 1},
                            {40, 20, 3, 16, 5, 2, 2, 1},   {40, 12, 48, 48, 3, 2, 1, 48},
                            {33, 10, 64, 96, 1, 1, 0, 1},  {33, 12, 12, 24, 3, 1, 1, 2},
                            {40, 6, 260, 256, 1, 2, 0, 1}, {40, 7, 76, 76, 3, 1, 1, 19},
                            {35, 6, 256, 256, 3, 1, 1, 8}};
    for (const Layer& l : layers) {
      api::ConvGeometry g;
      g.stride_h = g.stride_w = l.stride;
      g.pad_top = g.pad_left = g.pad_bottom = g.pad_right = l.pad;
      g.groups = l.groups;
      const Tensor x = waves({l.n, l.h, l.h, l.i}, 0.37),
                   w = waves({l.o, l.k, l.k, l.i / l.groups}, 0.71),
                   dy = waves({l.n, g.out_h(l.h, l.k), g.out_w(l.h, l.k), l.o}, 0.53);
      compare_threads(isa + ", channels " + std::to_string(l.i), [&] {
        const Tensor y = Tensor::zeros(dy.shape(), DType::f32),
                     dx = Tensor::zeros(x.shape(), DType::f32),
                     dw = Tensor::zeros(w.shape(), DType::f64);
        backend.conv().forward({x, w, {}, y, g});
        backend.conv().backward_data({dy, w, dx, g});
        backend.conv().backward_weights({x, dy, dw, {}, g});
        return std::vector<Tensor>{y, dx, dw};
      });
    }
    const Tensor x = waves({133, 700}, 0.37), w = waves({150, 700}, 0.71),
                 dy = waves({133, 150}, 0.5);
    compare_threads(isa + ", linear", [&] {
      const Tensor y = Tensor::zeros(dy.shape(), DType::f32),
                   dx = Tensor::zeros(x.shape(), DType::f32),
                   dw = Tensor::zeros(w.shape(), DType::f64);
      backend.linear().forward({x, w, {}, y});
      backend.linear().backward_data({dy, w, dx});
      backend.linear().backward_weights({x, dy, dw, {}});
      return std::vector<Tensor>{y, dx, dw};
    });
  });
}
