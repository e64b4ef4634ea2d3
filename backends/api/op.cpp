// SPDX-License-Identifier: MIT
#include "backends/api/op.hpp"

namespace isaribi::api {
namespace {

constexpr std::array<std::string_view, kOpCount> kNames = {"conv_forward",
                                                           "conv_backward_data",
                                                           "conv_backward_weights",
                                                           "linear_forward",
                                                           "linear_backward_data",
                                                           "linear_backward_weights",
                                                           "gemm",
                                                           "syrk",
                                                           "kronecker",
                                                           "cholesky",
                                                           "cholesky_inverse",
                                                           "symmetric_eigen",
                                                           "triangular_solve",
                                                           "patch_covariance",
                                                           "patch_mean",
                                                           "norm_fisher",
                                                           "fisher_vectors",
                                                           "batch_norm_statistics",
                                                           "batch_norm_normalize",
                                                           "batch_norm_backward_reduce",
                                                           "batch_norm_backward_apply",
                                                           "batch_norm_fold",
                                                           "max_pool_forward",
                                                           "max_pool_backward",
                                                           "average_pool_forward",
                                                           "average_pool_backward",
                                                           "global_average_forward",
                                                           "global_average_backward",
                                                           "activation_forward",
                                                           "activation_backward",
                                                           "add",
                                                           "multiply",
                                                           "axpby",
                                                           "fill",
                                                           "add_bias",
                                                           "bias_gradient",
                                                           "concat",
                                                           "split",
                                                           "dot",
                                                           "argmax",
                                                           "one_hot",
                                                           "softmax_cross_entropy",
                                                           "mean_squared_error",
                                                           "bernoulli_cross_entropy",
                                                           "dropout",
                                                           "random_uniform",
                                                           "random_normal",
                                                           "sgd_update",
                                                           "adam_update",
                                                           "cast",
                                                           "pack_triangle",
                                                           "unpack_triangle"};

constexpr std::array<std::string_view, 6> kActivations = {"none", "relu",    "relu6",
                                                          "tanh", "sigmoid", "swish"};

constexpr std::array<Op, kOpCount> list_ops() {
  std::array<Op, kOpCount> ops{};
  for (int i = 0; i < kOpCount; ++i) ops[static_cast<std::size_t>(i)] = static_cast<Op>(i);
  return ops;
}
constexpr std::array<Op, kOpCount> kOps = list_ops();

}  // namespace

std::string_view name_of(Op op) {
  return kNames[static_cast<std::size_t>(op)];
}
const std::array<Op, kOpCount>& all_ops() {
  return kOps;
}
std::string_view name_of(Activation kind) {
  return kActivations[static_cast<std::size_t>(kind)];
}

}  // namespace isaribi::api
