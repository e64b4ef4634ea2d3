// SPDX-License-Identifier: MIT
// f32 products of the simd backend have the same bits for any number of threads (gemm.hpp): shapes
// that cross cache blocks and end in part of a tile.
#include <omp.h>

#include <cmath>
#include <cstring>

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
    const Tensor tall = waves({5003, 75}, 0.53);  // K in slices
    Tensor product_of_one, square_of_one, tall_of_one;
    for (const int threads : {1, 2, 3, 4}) {
      omp_set_num_threads(threads);
      const Tensor product = waves({401, 73}, 0.11), square = Tensor::zeros({411, 411}, DType::f32),
                   tall_square = Tensor::zeros({75, 75}, DType::f32);
      backend->linalg().gemm({.a = a, .b = b, .c = product, .alpha = 1.5, .beta = 0.5});
      backend->linalg().syrk({.a = a, .c = square, .transpose = true});
      backend->linalg().syrk({.a = tall, .c = tall_square, .transpose = true});
      if (threads == 1) {
        product_of_one = product;
        square_of_one = square;
        tall_of_one = tall_square;
      }
      INFO(isa << ", " << threads << " threads");
      CHECK(same_bits(product, product_of_one));
      CHECK(same_bits(square, square_of_one));
      CHECK(same_bits(tall_square, tall_of_one));
    }
  }
}
