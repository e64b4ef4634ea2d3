// SPDX-License-Identifier: MIT
#include "backends/simd/factor_pairs.hpp"

namespace isaribi::simd {
namespace {

/// The rows that make_pair_rows adds, in their order.
enum Row : std::int64_t { sum01, difference01, y0_y2, y1_y2, y2_y1, y3_y1, y3_y2 };

/// Where the rows of one side of a product are: row `first` of the image, then every `step`-th.
struct Rows {
  std::int64_t first, step;
};
struct Product {
  Rows a, b;
};

/// Product `i` of a bundle.
Product product_of(const FactorPlan& p, bool left, int i) {
  const auto original = [&](std::int64_t k) {
    return Rows{p.vertical.edges[static_cast<std::size_t>(p.core)] + k, 2};
  };
  const auto made = [&](Row row) { return Rows{p.rows + row * p.pairs, 1}; };
  const Product to_the_right[] = {{original(0), made(y0_y2)},
                                  {made(sum01), made(y1_y2)},
                                  {made(difference01), made(y2_y1)},
                                  {original(1), made(y3_y1)}};
  const Product to_the_left[] = {
      {original(0), made(y2_y1)}, {made(sum01), original(2)}, {original(1), made(y3_y2)}};
  return left ? to_the_left[i] : to_the_right[i];
}

}  // namespace

void make_pair_rows(const FactorPlan& p, const Kernels& kernels, float* plane) {
  const std::int64_t row = p.columns * p.width;
  const float* first = plane + p.vertical.edges[static_cast<std::size_t>(p.core)] * row;
  for (std::int64_t t = 0; t < p.pairs; ++t) {
    kernels.pair_rows(first + 2 * t * row, row, plane + (p.rows + t) * row, p.pairs * row);
  }
}

PairRun::PairRun(const FactorPlan& plan, const FactorBundle& bundle, const Kernels& kernels)
    : plan_(plan),
      bundle_(bundle),
      kernels_(kernels),
      item_(plan.items[static_cast<std::size_t>(bundle.first)]),
      products_(bundle.left ? 3 : 4),
      size_(static_cast<std::int64_t>(item_.rows) * item_.vectors * kernels.lanes) {}

void PairRun::add(const float* images, std::int64_t samples, float* points, bool add) const {
  const FactorAxis& across = plan_.horizontal;
  const FactorStrip& strip = item_.strips[0];
  std::ptrdiff_t offset[kMaxPanelVectors];
  for (int v = 0; v < item_.vectors; ++v)
    offset[v] = strip.offset - strip.dh * plan_.row + v * kernels_.lanes;
  FactorTile t{};
  t.offset = offset;
  t.rows = item_.rows;
  t.vectors = item_.vectors;
  t.last = kernels_.lanes;
  t.add = add;
  t.acc = points;
  t.acc_row = item_.vectors * kernels_.lanes;
  for (int i = 0; i < products_; ++i) {
    const Product product = product_of(plan_, bundle_.left, i);
    const std::int64_t a_row = product.a.step * plan_.row, b_row = product.b.step * plan_.row;
    for (std::int64_t x = 0; x < across.cells(); ++x, t.acc += size_) {
      const std::int64_t at = across.edges[static_cast<std::size_t>(x)] * plan_.pixel;
      const std::int64_t columns =
          across.edges[static_cast<std::size_t>(x + 1)] - across.edges[static_cast<std::size_t>(x)];
      const bool one = columns == 1;  // then the innermost loop runs down
      t.count[0] = one ? 1 : samples;
      t.count[1] = one ? samples : plan_.pairs;
      t.count[2] = one ? plan_.pairs : columns;
      t.a_step[0] = t.b_step[0] = plan_.image;
      t.a_step[1] = one ? plan_.image : a_row;
      t.b_step[1] = one ? plan_.image : b_row;
      t.a_step[2] = one ? a_row : plan_.pixel;
      t.b_step[2] = one ? b_row : plan_.pixel;
      t.a = images + product.a.first * plan_.row + at + item_.offset;
      t.b = images + product.b.first * plan_.row + at;
      kernels_.factor_tile(t);
    }
  }
}

void PairRun::finish(const float* points, float* cells, std::int64_t cells_size) const {
  const std::int64_t n = plan_.horizontal.cells() * size_;
  float* first = cells + plan_.core * n;  // the core's cells of the first distance
  float *second = first + cells_size, *third = second + cells_size;
  const float *m1 = points, *m2 = m1 + n, *m3 = m2 + n, *m4 = m3 + n;
  for (std::int64_t i = 0; i < n; ++i) {
    if (bundle_.left) {
      first[i] = m2[i] - m1[i];
      second[i] = m2[i] + m3[i];
      continue;
    }
    const float sum = 0.5f * (m2[i] + m3[i]);
    first[i] = m1[i] + sum;
    second[i] = 0.5f * (m2[i] - m3[i]);
    third[i] = sum + m4[i];
  }
}

}  // namespace isaribi::simd
