// SPDX-License-Identifier: MIT
// The list of operations. Every backend answers, per operation and element type, whether its own
// code runs it or its fallback's; selftest walks the same list.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace isaribi::api {

enum class Op : std::uint8_t {
  conv_forward,
  conv_backward_data,
  conv_backward_weights,
  linear_forward,
  linear_backward_data,
  linear_backward_weights,
  gemm,
  syrk,
  kronecker,
  cholesky,
  cholesky_inverse,
  symmetric_eigen,
  triangular_solve,
  patch_covariance,
  patch_mean,
  norm_fisher,
  fisher_vectors,
  batch_norm_statistics,
  batch_norm_normalize,
  batch_norm_backward_reduce,
  batch_norm_backward_apply,
  batch_norm_fold,
  max_pool_forward,
  max_pool_backward,
  average_pool_forward,
  average_pool_backward,
  global_average_forward,
  global_average_backward,
  activation_forward,
  activation_backward,
  add,
  multiply,
  axpby,
  fill,
  add_bias,
  bias_gradient,
  concat,
  split,
  dot,
  argmax,
  one_hot,
  softmax_cross_entropy,
  mean_squared_error,
  bernoulli_cross_entropy,
  dropout,
  random_uniform,
  random_normal,
  sgd_update,
  adam_update,
  cast,
  pack_triangle,
  unpack_triangle,
  count_,  ///< number of operations, not one of them
};

inline constexpr int kOpCount = static_cast<int>(Op::count_);

/// "conv_forward": the name in tables, notes and profiles.
std::string_view name_of(Op op);
/// Every operation, in declaration order.
const std::array<Op, kOpCount>& all_ops();

/// Activation functions, alone or fused after another operation. NaN stays NaN in all of them: a
/// rectifier must not hide a diverged network from the checks of the training loop.
enum class Activation : std::uint8_t { none, relu, relu6, tanh, sigmoid, swish };
std::string_view name_of(Activation kind);

}  // namespace isaribi::api
