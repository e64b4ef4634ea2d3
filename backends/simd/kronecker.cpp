// SPDX-License-Identifier: MIT
// Products of Kronecker form, of all layers in one parallel region. A share is some columns of one
// layer: X R, L times that, what it adds to the inner product, and its place in the parts, by one
// thread, so that nothing waits between them and what lies between them stays in its cache. Large
// layers are cut into a share per thread, small ones are taken whole afterwards. Layers whose
// shares would not fit a cache, or that have too few columns for the threads, go first, by all
// threads one product after the other. The bits are the same in every way.
#include "backends/simd/kronecker.hpp"

#include <algorithm>
#include <atomic>
#include <vector>

#include "backends/simd/gemm.hpp"
#include "backends/simd/gemm_plan.hpp"
#include "backends/simd/parallel.hpp"

namespace isaribi::simd {
namespace {

using api::KroneckerProduct;

constexpr std::int64_t kWorthSharing = 1 << 20;  // multiply-adds

struct Layer {
  KroneckerProduct* product;
  double* inner;  // of its vectors of columns
  int shares;
};

bool is_cut(const Layer& layer) {
  return layer.shares > 1;
}
bool is_whole(const Layer& layer) {
  return layer.shares == 1;
}

/// The columns of y in the parts.
void copy_parts(const KroneckerProduct& p, Range columns) {
  const std::int64_t m = p.x.shape()[0], n = p.x.shape()[1];
  std::int64_t first = 0;
  for (const core::Tensor& part : p.parts) {
    const std::int64_t width = part.shape()[1];
    const std::int64_t begin = std::max(columns.begin, first),
                       end = std::min(columns.end, first + width);
    for (std::int64_t i = 0; i < m && begin < end; ++i)
      std::copy_n(p.y.data<float>() + i * n + begin, end - begin,
                  part.data<float>() + i * width + begin - first);
    first += width;
  }
}

/// What is left to do when columns of y are there, cut at vectors.
void finish(const Layer& layer, Range columns, const Kernels& kernels) {
  const KroneckerProduct& p = *layer.product;
  const std::int64_t m = p.x.shape()[0], n = p.x.shape()[1], lanes = kernels.lanes;
  for (std::int64_t j = columns.begin; j < columns.end; j += lanes)
    layer.inner[j / lanes] = kernels.dot_columns(p.x.data<float>() + j, p.y.data<float>() + j, n, m,
                                                 std::min(lanes, n - j));
  copy_parts(p, columns);
}

void run_share(const Layer& layer, int index, Context& context) {
  const KroneckerProduct& p = *layer.product;
  const std::int64_t m = p.x.shape()[0], n = p.x.shape()[1];
  const Range columns = share(n, index, layer.shares, context.kernels().lanes);
  const std::int64_t width = columns.end - columns.begin;
  if (width <= 0) return;
  float* half = context.scratch.get<float>(Use::partial, m * width, omp_get_thread_num());
  const float* right = p.right.data<float>() + columns.begin;
  float* y = p.y.data<float>() + columns.begin;
  multiply_share({m, width, n, {p.x.data<float>(), n, 1}, {right, n, 1}, half, width}, context, 0,
                 1);
  multiply_share({m, width, m, {p.left.data<float>(), m, 1}, {half, width, 1}, y, n}, context, 0,
                 1);
  finish(layer, columns, context.kernels());
}

void run_together(const Layer& layer, Context& context) {
  const KroneckerProduct& p = *layer.product;
  const std::int64_t m = p.x.shape()[0], n = p.x.shape()[1], lanes = context.kernels().lanes;
  float* half = p.half.data<float>();
  multiply({m, n, n, {p.x.data<float>(), n, 1}, {p.right.data<float>(), n, 1}, half, n}, context);
  multiply({m, n, m, {p.left.data<float>(), m, 1}, {half, n, 1}, p.y.data<float>(), n}, context);
  parallel_ranges(n, m * n, lanes, [&](Range r) { finish(layer, r, context.kernels()); });
}

/// Shares of a layer, or 0: by all threads together.
int shares_of(const KroneckerProduct& p, std::int64_t vectors) {
  const std::int64_t m = p.x.shape()[0], n = p.x.shape()[1], team = omp_get_max_threads();
  if (m * n * (m + n) < kWorthSharing) return 1;
  return vectors >= 2 * team && p.x.count() * 4 <= caches().l2 / 2 * team ? static_cast<int>(team)
                                                                          : 0;
}

}  // namespace

void run_kronecker(std::span<KroneckerProduct> products, Context& context) {
  const std::int64_t lanes = context.kernels().lanes;
  const auto vectors_of = [&](const KroneckerProduct& p) {
    return (p.x.shape()[1] + lanes - 1) / lanes;
  };
  std::int64_t vectors = 0;
  for (const KroneckerProduct& p : products) vectors += vectors_of(p);
  double* inner = context.ready().get<double>(Use::sums, vectors + 1);
  std::vector<Layer> layers;
  for (KroneckerProduct& p : products) {
    layers.push_back({&p, inner, shares_of(p, vectors_of(p))});
    inner += vectors_of(p);
  }
  std::stable_sort(layers.begin(), layers.end(),
                   [](const Layer& a, const Layer& b) { return a.shares > b.shares; });
  const auto cut = std::partition_point(layers.begin(), layers.end(), is_cut);
  const auto whole = std::partition_point(cut, layers.end(), is_whole);
  std::for_each(whole, layers.end(), [&](const Layer& layer) { run_together(layer, context); });
  const std::int64_t team = omp_get_max_threads(), shares = (cut - layers.begin()) * team,
                     all = shares + (whole - cut);
  std::atomic<std::int64_t> next{0};
#pragma omp parallel if (all > 1)
  {
    for (std::int64_t i = next++; i < all; i = next++) {
      const auto layer = i < shares ? layers.begin() + i / team : cut + (i - shares);
      run_share(*layer, static_cast<int>(i < shares ? i % team : 0), context);
    }
  }
  for (const Layer& layer : layers) {
    layer.product->inner = 0;
    for (std::int64_t v = 0; v < vectors_of(*layer.product); ++v)
      layer.product->inner += layer.inner[v];
  }
}

}  // namespace isaribi::simd
