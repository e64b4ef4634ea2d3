// SPDX-License-Identifier: MIT
#include "backends/cuda/elsewhere.hpp"

#include <string>

#include "core/error.hpp"

namespace isaribi::cuda {

using api::Backend;
using api::Op;

bool Elsewhere::available() const {
  return fallback_ != nullptr && fallback_->memory().device() == self_.memory().device();
}

void Elsewhere::require(Op op) const {
  if (available()) return;
  throw core::UsageError("op " + std::string(api::name_of(op)) + " is not available on cuda",
                         "run with --backend=auto; a Kokkos built for CUDA would bring the "
                         "operations that are missing");
}

void ConvElsewhere::do_forward(const api::ConvForward& args) {
  elsewhere_.run(Op::conv_forward, [&](Backend& other) { return other.conv().forward(args); });
}
void ConvElsewhere::do_backward_data(const api::ConvBackwardData& args) {
  elsewhere_.run(Op::conv_backward_data,
                 [&](Backend& other) { return other.conv().backward_data(args); });
}
void ConvElsewhere::do_backward_weights(const api::ConvBackwardWeights& args) {
  elsewhere_.run(Op::conv_backward_weights,
                 [&](Backend& other) { return other.conv().backward_weights(args); });
}

void LinearElsewhere::do_forward(const api::LinearForward& args) {
  elsewhere_.run(Op::linear_forward, [&](Backend& other) { return other.linear().forward(args); });
}
void LinearElsewhere::do_backward_data(const api::LinearBackwardData& args) {
  elsewhere_.run(Op::linear_backward_data,
                 [&](Backend& other) { return other.linear().backward_data(args); });
}
void LinearElsewhere::do_backward_weights(const api::LinearBackwardWeights& args) {
  elsewhere_.run(Op::linear_backward_weights,
                 [&](Backend& other) { return other.linear().backward_weights(args); });
}

void LinalgElsewhere::do_gemm(const api::Gemm& args) {
  elsewhere_.run(Op::gemm, [&](Backend& other) { return other.linalg().gemm(args); });
}
void LinalgElsewhere::do_syrk(const api::Syrk& args) {
  elsewhere_.run(Op::syrk, [&](Backend& other) { return other.linalg().syrk(args); });
}
int LinalgElsewhere::do_cholesky(const api::Cholesky& args) {
  return elsewhere_.run(Op::cholesky,
                        [&](Backend& other) { return other.linalg().cholesky(args); });
}
int LinalgElsewhere::do_cholesky_inverse(const api::CholeskyInverse& args) {
  return elsewhere_.run(Op::cholesky_inverse,
                        [&](Backend& other) { return other.linalg().cholesky_inverse(args); });
}
int LinalgElsewhere::do_symmetric_eigen(const api::SymmetricEigen& args) {
  return elsewhere_.run(Op::symmetric_eigen,
                        [&](Backend& other) { return other.linalg().symmetric_eigen(args); });
}
void LinalgElsewhere::do_triangular_solve(const api::TriangularSolve& args) {
  elsewhere_.run(Op::triangular_solve,
                 [&](Backend& other) { return other.linalg().triangular_solve(args); });
}

void FactorElsewhere::do_patch_covariance(const api::PatchCovariance& args) {
  elsewhere_.run(Op::patch_covariance,
                 [&](Backend& other) { return other.factor().patch_covariance(args); });
}
void FactorElsewhere::do_patch_mean(const api::PatchMean& args) {
  elsewhere_.run(Op::patch_mean, [&](Backend& other) { return other.factor().patch_mean(args); });
}
void FactorElsewhere::do_norm_fisher(const api::NormFisher& args) {
  elsewhere_.run(Op::norm_fisher, [&](Backend& other) { return other.factor().norm_fisher(args); });
}
void FactorElsewhere::do_fisher_vectors(const api::FisherVectors& args) {
  elsewhere_.run(Op::fisher_vectors,
                 [&](Backend& other) { return other.factor().fisher_vectors(args); });
}

void NormElsewhere::do_statistics(const api::BatchNormStatistics& args) {
  elsewhere_.run(Op::batch_norm_statistics,
                 [&](Backend& other) { return other.norm().statistics(args); });
}
void NormElsewhere::do_normalize(const api::BatchNormNormalize& args) {
  elsewhere_.run(Op::batch_norm_normalize,
                 [&](Backend& other) { return other.norm().normalize(args); });
}
void NormElsewhere::do_backward_reduce(const api::BatchNormBackwardReduce& args) {
  elsewhere_.run(Op::batch_norm_backward_reduce,
                 [&](Backend& other) { return other.norm().backward_reduce(args); });
}
void NormElsewhere::do_backward_apply(const api::BatchNormBackwardApply& args) {
  elsewhere_.run(Op::batch_norm_backward_apply,
                 [&](Backend& other) { return other.norm().backward_apply(args); });
}
void NormElsewhere::do_fold(const api::BatchNormFold& args) {
  elsewhere_.run(Op::batch_norm_fold, [&](Backend& other) { return other.norm().fold(args); });
}

void PoolElsewhere::do_max_forward(const api::MaxPoolForward& args) {
  elsewhere_.run(Op::max_pool_forward,
                 [&](Backend& other) { return other.pool().max_forward(args); });
}
void PoolElsewhere::do_max_backward(const api::MaxPoolBackward& args) {
  elsewhere_.run(Op::max_pool_backward,
                 [&](Backend& other) { return other.pool().max_backward(args); });
}
void PoolElsewhere::do_average_forward(const api::AveragePoolForward& args) {
  elsewhere_.run(Op::average_pool_forward,
                 [&](Backend& other) { return other.pool().average_forward(args); });
}
void PoolElsewhere::do_average_backward(const api::AveragePoolBackward& args) {
  elsewhere_.run(Op::average_pool_backward,
                 [&](Backend& other) { return other.pool().average_backward(args); });
}
void PoolElsewhere::do_global_average_forward(const api::GlobalAverageForward& args) {
  elsewhere_.run(Op::global_average_forward,
                 [&](Backend& other) { return other.pool().global_average_forward(args); });
}
void PoolElsewhere::do_global_average_backward(const api::GlobalAverageBackward& args) {
  elsewhere_.run(Op::global_average_backward,
                 [&](Backend& other) { return other.pool().global_average_backward(args); });
}

void ElementwiseElsewhere::do_activation_forward(const api::ActivationForward& args) {
  elsewhere_.run(Op::activation_forward,
                 [&](Backend& other) { return other.elementwise().activation_forward(args); });
}
void ElementwiseElsewhere::do_activation_backward(const api::ActivationBackward& args) {
  elsewhere_.run(Op::activation_backward,
                 [&](Backend& other) { return other.elementwise().activation_backward(args); });
}
void ElementwiseElsewhere::do_add(const api::Add& args) {
  elsewhere_.run(Op::add, [&](Backend& other) { return other.elementwise().add(args); });
}
void ElementwiseElsewhere::do_axpby(const api::Axpby& args) {
  elsewhere_.run(Op::axpby, [&](Backend& other) { return other.elementwise().axpby(args); });
}
void ElementwiseElsewhere::do_fill(const api::Fill& args) {
  elsewhere_.run(Op::fill, [&](Backend& other) { return other.elementwise().fill(args); });
}
void ElementwiseElsewhere::do_multiply(const api::Multiply& args) {
  elsewhere_.run(Op::multiply, [&](Backend& other) { return other.elementwise().multiply(args); });
}

void ElementwiseElsewhere::do_add_bias(const api::AddBias& args) {
  elsewhere_.run(Op::add_bias, [&](Backend& other) { return other.elementwise().add_bias(args); });
}
void ElementwiseElsewhere::do_bias_gradient(const api::BiasGradient& args) {
  elsewhere_.run(Op::bias_gradient,
                 [&](Backend& other) { return other.elementwise().bias_gradient(args); });
}
void ElementwiseElsewhere::do_concat(const api::Concat& args) {
  elsewhere_.run(Op::concat, [&](Backend& other) { return other.elementwise().concat(args); });
}
void ElementwiseElsewhere::do_split(const api::Split& args) {
  elsewhere_.run(Op::split, [&](Backend& other) { return other.elementwise().split(args); });
}
double ElementwiseElsewhere::do_dot(const core::Tensor& a, const core::Tensor& b) {
  return elsewhere_.run(Op::dot, [&](Backend& other) { return other.elementwise().dot(a, b); });
}
void ElementwiseElsewhere::do_argmax(const core::Tensor& x, const core::Tensor& index) {
  elsewhere_.run(Op::argmax, [&](Backend& other) { return other.elementwise().argmax(x, index); });
}

void LossElsewhere::do_softmax_cross_entropy(const api::Loss& args) {
  elsewhere_.run(Op::softmax_cross_entropy,
                 [&](Backend& other) { return other.loss().softmax_cross_entropy(args); });
}
void LossElsewhere::do_mean_squared_error(const api::Loss& args) {
  elsewhere_.run(Op::mean_squared_error,
                 [&](Backend& other) { return other.loss().mean_squared_error(args); });
}
void LossElsewhere::do_bernoulli_cross_entropy(const api::Loss& args) {
  elsewhere_.run(Op::bernoulli_cross_entropy,
                 [&](Backend& other) { return other.loss().bernoulli_cross_entropy(args); });
}
void LossElsewhere::do_one_hot(const api::OneHot& args) {
  elsewhere_.run(Op::one_hot, [&](Backend& other) { return other.loss().one_hot(args); });
}

void RandomElsewhere::do_dropout(const api::Dropout& args) {
  elsewhere_.run(Op::dropout, [&](Backend& other) { return other.random().dropout(args); });
}
void RandomElsewhere::do_uniform(const api::RandomUniform& args) {
  elsewhere_.run(Op::random_uniform, [&](Backend& other) { return other.random().uniform(args); });
}
void RandomElsewhere::do_normal(const api::RandomNormal& args) {
  elsewhere_.run(Op::random_normal, [&](Backend& other) { return other.random().normal(args); });
}

void CastElsewhere::do_cast(const core::Tensor& x, const core::Tensor& y) {
  elsewhere_.run(Op::cast, [&](Backend& other) { return other.cast().cast(x, y); });
}
void CastElsewhere::do_pack_triangle(const core::Tensor& full, const core::Tensor& packed) {
  elsewhere_.run(Op::pack_triangle,
                 [&](Backend& other) { return other.cast().pack_triangle(full, packed); });
}
void CastElsewhere::do_unpack_triangle(const core::Tensor& packed, const core::Tensor& full) {
  elsewhere_.run(Op::unpack_triangle,
                 [&](Backend& other) { return other.cast().unpack_triangle(packed, full); });
}

}  // namespace isaribi::cuda
