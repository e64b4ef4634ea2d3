// SPDX-License-Identifier: MIT
// The operation families of this backend, one class and one .cpp file each; none has state.
#pragma once

#include "backends/api/backend.hpp"

namespace isaribi::reference {

class Conv final : public api::ConvOps {
  void do_forward(const api::ConvForward& args) override;
  void do_backward_data(const api::ConvBackwardData& args) override;
  void do_backward_weights(const api::ConvBackwardWeights& args) override;
};

class Linear final : public api::LinearOps {
  void do_forward(const api::LinearForward& args) override;
  void do_backward_data(const api::LinearBackwardData& args) override;
  void do_backward_weights(const api::LinearBackwardWeights& args) override;
};

class Linalg final : public api::LinalgOps {
  void do_gemm(const api::Gemm& args) override;
  void do_syrk(const api::Syrk& args) override;
  int do_cholesky(const api::Cholesky& args) override;
  int do_cholesky_inverse(const api::CholeskyInverse& args) override;
  int do_symmetric_eigen(const api::SymmetricEigen& args) override;
  void do_triangular_solve(const api::TriangularSolve& args) override;
};

class Factor final : public api::FactorOps {
  void do_patch_covariance(const api::PatchCovariance& args) override;
  void do_patch_mean(const api::PatchMean& args) override;
  void do_norm_fisher(const api::NormFisher& args) override;
  void do_fisher_vectors(const api::FisherVectors& args) override;
};

class Norm final : public api::NormOps {
  void do_statistics(const api::BatchNormStatistics& args) override;
  void do_normalize(const api::BatchNormNormalize& args) override;
  void do_backward_reduce(const api::BatchNormBackwardReduce& args) override;
  void do_backward_apply(const api::BatchNormBackwardApply& args) override;
  void do_fold(const api::BatchNormFold& args) override;
};

class Pool final : public api::PoolOps {
  void do_max_forward(const api::MaxPoolForward& args) override;
  void do_max_backward(const api::MaxPoolBackward& args) override;
  void do_average_forward(const api::AveragePoolForward& args) override;
  void do_average_backward(const api::AveragePoolBackward& args) override;
  void do_global_average_forward(const api::GlobalAverageForward& args) override;
  void do_global_average_backward(const api::GlobalAverageBackward& args) override;
};

class Elementwise final : public api::ElementwiseOps {
  void do_activation_forward(const api::ActivationForward& args) override;
  void do_activation_backward(const api::ActivationBackward& args) override;
  void do_add(const api::Add& args) override;
  void do_multiply(const api::Multiply& args) override;
  void do_axpby(const api::Axpby& args) override;
  void do_fill(const api::Fill& args) override;
  void do_add_bias(const api::AddBias& args) override;
  void do_bias_gradient(const api::BiasGradient& args) override;
  void do_concat(const api::Concat& args) override;
  void do_split(const api::Split& args) override;
  double do_dot(const core::Tensor& a, const core::Tensor& b) override;
  void do_argmax(const core::Tensor& x, const core::Tensor& index) override;
};

class Loss final : public api::LossOps {
  void do_softmax_cross_entropy(const api::Loss& args) override;
  void do_mean_squared_error(const api::Loss& args) override;
  void do_bernoulli_cross_entropy(const api::Loss& args) override;
  void do_one_hot(const api::OneHot& args) override;
};

class Random final : public api::RandomOps {
  void do_dropout(const api::Dropout& args) override;
  void do_uniform(const api::RandomUniform& args) override;
  void do_normal(const api::RandomNormal& args) override;
};

class Update final : public api::UpdateOps {
  void do_sgd(const api::SgdUpdate& args) override;
  void do_adam(const api::AdamUpdate& args) override;
};

class Cast final : public api::CastOps {
  void do_cast(const core::Tensor& x, const core::Tensor& y) override;
  void do_pack_triangle(const core::Tensor& full, const core::Tensor& packed) override;
  void do_unpack_triangle(const core::Tensor& packed, const core::Tensor& full) override;
};

}  // namespace isaribi::reference
