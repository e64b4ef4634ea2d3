// SPDX-License-Identifier: MIT
// Fills the table of one ISA level. Included by each ISA unit after its vec_*.hpp.
#pragma once

#include "backends/simd/isa/activation.hpp"
#include "backends/simd/isa/conv_panel.hpp"
#include "backends/simd/isa/depthwise.hpp"
#include "backends/simd/isa/depthwise_weights.hpp"
#include "backends/simd/isa/factor_columns.hpp"
#include "backends/simd/isa/factor_tile.hpp"
#include "backends/simd/isa/flat_products.hpp"
#include "backends/simd/isa/gemm_pack.hpp"
#include "backends/simd/isa/gemm_tile.hpp"
#include "backends/simd/isa/passes.hpp"
#include "backends/simd/isa/pooling.hpp"
#include "backends/simd/isa/sums.hpp"
#include "backends/simd/isa/triangle.hpp"
#include "backends/simd/isa/weight_tile.hpp"
#include "backends/simd/kernels.hpp"

namespace {

constexpr isaribi::simd::Kernels kernel_table(const char* name) {
  isaribi::simd::Kernels k{};
  k.isa = name;
  k.lanes = kLanes;
  for (int v = 0; v <= isaribi::simd::kMaxPanelVectors; ++v) {
    k.tile_rows[v] = kTileRows[v];
    k.outer_rows[v] = kOuterRows[v];
  }
  k.gemm_vectors = kGemmVectors;
  k.gemm_depth = kGemmDepth;
  k.gemm_tile = gemm_tile;
  k.gemm_sums = gemm_sums;
  k.gemm_pack = gemm_pack;
  k.transpose_eight = pack_lines<8>;
  k.conv_panel = conv_panel;
  k.gather_row = gather_row;
  k.weight_tile = weight_tile;
  k.weight_pair = weight_pair;
  k.cholesky_block = cholesky_block;
  k.invert_triangle = invert_triangle<>;
  k.factor_tile = factor_tile;
  k.sum_windows = sum_windows;
  for (int c = 0; c <= kMostFlatChannels; ++c) k.flat_vectors[c] = flat_vectors(c);
  k.flat_products = flat_products<>;
  k.pair_rows = pair_rows;
  k.widen_add = widen_add;
  for (int b = 1; b <= kMostColumnShifts; ++b) k.column_planes[b] = column_planes(b);
  k.column_tile = column_tile<>;
  k.column_windows = column_windows;
  k.stage_rows = stage_rows;
  k.depthwise_output = depthwise_output;
  k.depthwise_gradient = depthwise_gradient;
  k.depthwise_tiled = depthwise_tiled;
  k.depthwise_gradient_tiled = depthwise_gradient_tiled;
  k.bn_statistics = bn_statistics;
  k.bn_normalize = bn_normalize;
  k.bn_backward_reduce = bn_backward_reduce;
  k.bn_backward_apply = bn_backward_apply;
  k.column_sums = column_sums;
  k.max_pool_row = max_pool_row;
  k.max_pool_backward_row = max_pool_backward_row;
  k.average_pool_row = average_pool_row;
  k.relu = relu;
  k.tanh = tanh_pass;
  k.relu_backward = relu_backward;
  k.tanh_backward = tanh_backward;
  k.bernoulli_row = bernoulli_row;
  k.add = add;
  k.axpby = axpby;
  k.scale_add = scale_add;
  k.narrow_add = narrow_add;
  k.axpby_f64 = axpby_in_double<double, double>;
  k.axpby_f64_f32 = axpby_in_double<double, float>;
  k.axpby_f32_f64 = axpby_in_double<float, double>;
  k.add_in_double = add_in_double;
  k.fill = fill;
  k.dot = dot;
  k.dot_columns = dot_columns;
  k.sgd = sgd;
  k.adam = adam;
  k.add_f32 = add_to<float>;
  k.add_f64 = add_to<double>;
  k.add_i32 = add_to<unsigned>;
  k.wire_f32 = wire_kernels<float>();
  k.wire_f64 = wire_kernels<double>();
  return k;
}

}  // namespace
