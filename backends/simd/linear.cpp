// SPDX-License-Identifier: MIT
// A fully connected layer is a product (gemm.cpp), bias and activation added while a tile is hot.
// The weight gradient forms a tile of f64 sums, in L1, while it walks the blocks of kSampleBlock
// samples, so that they cost no memory traffic; a gradient of f64 is itself the place.
#include "backends/simd/linear.hpp"

#include <algorithm>
#include <type_traits>

#include "backends/api/conv.hpp"
#include "backends/simd/gemm.hpp"
#include "backends/simd/gemm_plan.hpp"
#include "backends/simd/norm.hpp"
#include "backends/simd/parallel.hpp"

namespace isaribi::simd {
namespace {

/// The operands of a weight gradient, packed: dy in panels of outputs (rows of dw), x in panels of
/// inputs (columns).
struct WeightPanels {
  const float *dy, *x;
  std::int64_t n, height, width, lanes;
  std::int64_t dy_panel;  // elements from panel to panel
};

/// A rectangle of dw: rows [o, o + rows) x columns [i, i + columns).
struct Rectangle {
  int rows, columns;
  const float* dy;  // its panel
  double* sums;     // where they are formed, `row` apart
  std::int64_t row;
  bool add;             // to what is there
  const double* ahead;  // the rectangle that comes next, as far apart; or nullptr
};

/// All samples: f32 sums in blocks of kSampleBlock, added in f64.
void weight_sums(const WeightPanels& w, const Kernels& kernels, const Rectangle& r) {
  GemmTile t{};
  t.a_row = 1;
  t.a_step = w.height;
  t.b_step = (r.columns + w.lanes - 1) / w.lanes * w.lanes;
  t.rows = r.rows;
  t.columns = r.columns;
  t.sums = r.sums;
  t.sums_row = r.row;
  t.block = api::kSampleBlock;
  t.k = w.n;
  t.a = r.dy;
  t.b = w.x;
  t.beta = r.add ? 1.0f : 0.0f;
  LinesAhead ahead{reinterpret_cast<const float*>(r.ahead), 2 * r.row, r.rows, r.columns / 8};
  if (r.ahead) t.ahead = &ahead;
  kernels.gemm_sums(t);
}

/// The same by way of `buffer`, for sums that are not f64, or end within a vector.
template <typename T>
void weight_rectangle(const WeightPanels& w, const Kernels& kernels, const Rectangle& r,
                      double* buffer, T* dw) {
  if (w.n == 0) std::fill(buffer, buffer + w.height * w.width, 0.0);
  weight_sums(w, kernels, {r.rows, r.columns, r.dy, buffer, w.width, false, nullptr});
  for (int i = 0; i < r.rows; ++i) {
    const double* from = buffer + i * w.width;
    T* to = dw + i * r.row;
    for (int c = 0; c < r.columns; ++c)
      to[c] = static_cast<T>(r.add ? static_cast<double>(to[c]) + from[c] : from[c]);
  }
}

template <typename T>
void weight_gradient(const api::LinearBackwardWeights& args, Context& context) {
  const Kernels& kernels = context.kernels();
  Scratch& scratch = context.ready();
  const std::int64_t n = args.x.shape()[0], in = args.x.shape()[1], out = args.dy.shape()[1];
  const std::int64_t all = (in + kernels.lanes - 1) / kernels.lanes;
  const auto vectors = static_cast<int>(std::min<std::int64_t>(kernels.gemm_vectors, all));
  WeightPanels shared{};
  shared.n = n;
  shared.lanes = kernels.lanes;
  shared.height = kernels.outer_rows[vectors];
  shared.width = static_cast<std::int64_t>(vectors) * kernels.lanes;
  shared.dy_panel = n * shared.height + 16;
  const std::int64_t strips = (out + shared.height - 1) / shared.height;
  const std::int64_t panels = (all + vectors - 1) / vectors;  // of nearly equal width
  float* dy = scratch.get<float>(Use::weights, strips * shared.dy_panel);
  shared.dy = dy;
  parallel_ranges(strips, args.dy.count(), 1, [&](Range r) {
    const std::int64_t first = r.begin * shared.height;
    kernels.gemm_pack({args.dy.data<float>() + first, 1, out,
                       std::min(out, r.end * shared.height) - first, n, shared.height,
                       shared.dy_panel, dy + r.begin * shared.dy_panel});
  });
  constexpr std::int64_t kGrain = 32;  // tiles, worth packing their panel of x again
  parallel_shares(panels * strips, args.x.count() * out / 4, kGrain, [&](Range r) {
    const int thread = omp_get_thread_num();
    float* x = scratch.get<float>(Use::strip, n * shared.width + 16, thread);
    double* sums = scratch.get<double>(Use::sums, shared.height * shared.width, thread);
    WeightPanels w = shared;
    w.x = x;
    std::int64_t packed = -1;
    for (std::int64_t item = r.begin; item < r.end; ++item) {
      const std::int64_t panel = item / strips, o = item % strips * w.height;
      const std::int64_t i = all * panel / panels * w.lanes;
      const std::int64_t columns = std::min(in, all * (panel + 1) / panels * w.lanes) - i;
      if (panel != packed) {
        kernels.gemm_pack({args.x.data<float>() + i, 1, in, columns, n,
                           (columns + w.lanes - 1) / w.lanes * w.lanes, n * w.width + 16, x});
        packed = panel;
      }
      T* dw = args.dw.data<T>() + o * in + i;
      Rectangle rectangle{static_cast<int>(std::min(w.height, out - o)),
                          static_cast<int>(columns),
                          w.dy + item % strips * w.dy_panel,
                          nullptr,
                          in,
                          args.accumulate,
                          nullptr};
      if constexpr (std::is_same_v<T, double>) {
        if (columns % w.lanes == 0 && n > 0) {
          rectangle.sums = dw;
          if (o + w.height < out) rectangle.ahead = dw + w.height * in;
          weight_sums(w, kernels, rectangle);
          continue;
        }
      }
      weight_rectangle(w, kernels, rectangle, sums, dw);
    }
  });
}

}  // namespace

void Linear::do_forward(const api::LinearForward& args) {
  if (!owns(api::Op::linear_forward, args.x.dtype())) {
    context_.fall_back(api::Op::linear_forward, args.y).linear().forward(args);
    return;
  }
  const std::int64_t in = args.x.shape()[1], out = args.y.shape()[1];
  if (args.y.count() == 0) return;
  multiply({args.x.shape()[0],
            out,
            in,
            {args.x.data<float>(), in, 1},
            {args.w.data<float>(), 1, in},
            args.y.data<float>(),
            out,
            1.0f,
            0.0f,
            args.bias.defined() ? args.bias.data<float>() : nullptr,
            args.activation == api::Activation::relu},
           context_);
}

void Linear::do_backward_data(const api::LinearBackwardData& args) {
  if (!owns(api::Op::linear_backward_data, args.dy.dtype())) {
    context_.fall_back(api::Op::linear_backward_data, args.dx).linear().backward_data(args);
    return;
  }
  const std::int64_t in = args.dx.shape()[1], out = args.dy.shape()[1];
  if (args.dx.count() == 0) return;
  multiply({args.dy.shape()[0],
            in,
            out,
            {args.dy.data<float>(), out, 1},
            {args.w.data<float>(), in, 1},
            args.dx.data<float>(),
            in},
           context_);
}

void Linear::do_backward_weights(const api::LinearBackwardWeights& args) {
  if (!owns(api::Op::linear_backward_weights, args.x.dtype())) {
    context_.fall_back(api::Op::linear_backward_weights, args.x).linear().backward_weights(args);
    return;
  }
  if (args.dw.dtype() == core::DType::f64) {
    weight_gradient<double>(args, context_);
  } else {
    weight_gradient<float>(args, context_);
  }
  if (args.db.defined()) bias_gradient(context_, args.dy, args.db, args.accumulate);
}

}  // namespace isaribi::simd
