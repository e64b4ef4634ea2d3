// SPDX-License-Identifier: MIT
// f32 products, convolutions and linear layers of the simd backend have the same bits for any
// number of threads (gemm.hpp): shapes that cross cache blocks and end in part of a tile.
#include <omp.h>

#include <cmath>
#include <cstring>
#include <string>
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

/// Everything that `run` writes with one thread and with more.
template <class Run>
void compare_threads(const std::string& what, const Run& run) {
  std::vector<Tensor> first;
  for (const int threads : {1, 2, 3, 4}) {
    omp_set_num_threads(threads);
    const std::vector<Tensor> results = run();
    if (threads == 1) first = results;
    for (std::size_t i = 0; i < results.size(); ++i) {
      INFO(what << ", result " << i << ", " << threads << " threads");
      CHECK(same_bits(results[i], first[i]));
    }
  }
}

/// f(backend, name) for every instruction set of this CPU.
template <class F>
void for_each_level(const F& f) {
  core::Log log(1);
  api::Registry registry;
  reference::register_backend(registry);
  simd::register_backend(registry);
  for (const api::Entry& entry : registry.entries()) {
    if (entry.name == "simd" && !entry.why_unusable().empty()) return;
  }
  for (const std::string& isa : registry.choices("simd", {}).isa_levels)
    f(*registry.create("simd", {.isa = isa}, log), isa);
}

/// A layer: x [n, h, h, i], w [o, k, k, i / groups].
struct Layer {
  std::int64_t n, h, i, o, k, stride, pad, groups;
};

}  // namespace

TEST_CASE("products of simd do not depend on the number of threads") {
  for_each_level([](api::Backend& backend, const std::string& isa) {
    const Tensor a = waves({401, 411}, 0.37), b = waves({411, 73}, 0.71);
    const Tensor tall = waves({5003, 75}, 0.53);  // K in slices
    compare_threads(isa, [&] {
      const Tensor product = waves({401, 73}, 0.11), square = Tensor::zeros({411, 411}, DType::f32),
                   tall_square = Tensor::zeros({75, 75}, DType::f32);
      backend.linalg().gemm({.a = a, .b = b, .c = product, .alpha = 1.5, .beta = 0.5});
      backend.linalg().syrk({.a = a, .c = square, .transpose = true});
      backend.linalg().syrk({.a = tall, .c = tall_square, .transpose = true});
      return std::vector<Tensor>{product, square, tall_square};
    });
  });
}

TEST_CASE("layers of simd do not depend on the number of threads") {
  for_each_level([](api::Backend& backend, const std::string& isa) {
    const Layer layers[] = {{70, 14, 33, 40, 3, 1, 1, 1}, {35, 9, 160, 100, 3, 1, 1, 1},
                            {40, 20, 3, 16, 5, 2, 2, 1},  {40, 12, 48, 48, 3, 2, 1, 48},
                            {33, 10, 64, 96, 1, 1, 0, 1}, {33, 12, 12, 24, 3, 1, 1, 2}};
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
