// SPDX-License-Identifier: MIT
// What this backend does not own runs elsewhere: on its fallback backend when that works on the
// same memory, else nowhere, and the error says so. One class per operation family.
#pragma once

#include <type_traits>

#include "backends/api/backend.hpp"

namespace isaribi::cuda {

/// The way to the fallback. One per backend object.
class Elsewhere {
 public:
  /// `fallback` may be nullptr.
  Elsewhere(api::Backend& self, api::Backend* fallback) : self_(self), fallback_(fallback) {}

  /// Runs call(fallback) between two waits, so that program order holds across the two queues.
  /// @throws core::UsageError when no fallback works on this backend's memory.
  template <typename Call>
  auto run(api::Op op, const Call& call) {
    require(op);
    self_.synchronize();
    if constexpr (std::is_void_v<decltype(call(*fallback_))>) {
      call(*fallback_);
      fallback_->synchronize();
    } else {
      const auto result = call(*fallback_);
      fallback_->synchronize();
      return result;
    }
  }
  bool available() const;

 private:
  void require(api::Op op) const;

  api::Backend& self_;
  api::Backend* fallback_;
};

/// An operation family all of whose operations run elsewhere.
class ConvElsewhere : public api::ConvOps {
 public:
  explicit ConvElsewhere(Elsewhere& elsewhere) : elsewhere_(elsewhere) {}

 private:
  void do_forward(const api::ConvForward& args) override;
  void do_backward_data(const api::ConvBackwardData& args) override;
  void do_backward_weights(const api::ConvBackwardWeights& args) override;
  Elsewhere& elsewhere_;
};

class LinearElsewhere : public api::LinearOps {
 public:
  explicit LinearElsewhere(Elsewhere& elsewhere) : elsewhere_(elsewhere) {}

 private:
  void do_forward(const api::LinearForward& args) override;
  void do_backward_data(const api::LinearBackwardData& args) override;
  void do_backward_weights(const api::LinearBackwardWeights& args) override;
  Elsewhere& elsewhere_;
};

class LinalgElsewhere : public api::LinalgOps {
 public:
  explicit LinalgElsewhere(Elsewhere& elsewhere) : elsewhere_(elsewhere) {}

 private:
  void do_gemm(const api::Gemm& args) override;
  void do_syrk(const api::Syrk& args) override;
  int do_cholesky(const api::Cholesky& args) override;
  int do_cholesky_inverse(const api::CholeskyInverse& args) override;
  int do_symmetric_eigen(const api::SymmetricEigen& args) override;
  void do_triangular_solve(const api::TriangularSolve& args) override;
  Elsewhere& elsewhere_;
};

class FactorElsewhere : public api::FactorOps {
 public:
  explicit FactorElsewhere(Elsewhere& elsewhere) : elsewhere_(elsewhere) {}

 private:
  void do_patch_covariance(const api::PatchCovariance& args) override;
  void do_patch_mean(const api::PatchMean& args) override;
  void do_norm_fisher(const api::NormFisher& args) override;
  void do_fisher_vectors(const api::FisherVectors& args) override;
  Elsewhere& elsewhere_;
};

class NormElsewhere : public api::NormOps {
 public:
  explicit NormElsewhere(Elsewhere& elsewhere) : elsewhere_(elsewhere) {}

 private:
  void do_statistics(const api::BatchNormStatistics& args) override;
  void do_normalize(const api::BatchNormNormalize& args) override;
  void do_backward_reduce(const api::BatchNormBackwardReduce& args) override;
  void do_backward_apply(const api::BatchNormBackwardApply& args) override;
  void do_fold(const api::BatchNormFold& args) override;
  Elsewhere& elsewhere_;
};

class PoolElsewhere : public api::PoolOps {
 public:
  explicit PoolElsewhere(Elsewhere& elsewhere) : elsewhere_(elsewhere) {}

 private:
  void do_max_forward(const api::MaxPoolForward& args) override;
  void do_max_backward(const api::MaxPoolBackward& args) override;
  void do_average_forward(const api::AveragePoolForward& args) override;
  void do_average_backward(const api::AveragePoolBackward& args) override;
  void do_global_average_forward(const api::GlobalAverageForward& args) override;
  void do_global_average_backward(const api::GlobalAverageBackward& args) override;
  Elsewhere& elsewhere_;
};

class ElementwiseElsewhere : public api::ElementwiseOps {
 public:
  explicit ElementwiseElsewhere(Elsewhere& elsewhere) : elsewhere_(elsewhere) {}

 private:
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
  Elsewhere& elsewhere_;
};

class LossElsewhere : public api::LossOps {
 public:
  explicit LossElsewhere(Elsewhere& elsewhere) : elsewhere_(elsewhere) {}

 private:
  void do_softmax_cross_entropy(const api::Loss& args) override;
  void do_mean_squared_error(const api::Loss& args) override;
  void do_bernoulli_cross_entropy(const api::Loss& args) override;
  void do_one_hot(const api::OneHot& args) override;
  Elsewhere& elsewhere_;
};

class RandomElsewhere : public api::RandomOps {
 public:
  explicit RandomElsewhere(Elsewhere& elsewhere) : elsewhere_(elsewhere) {}

 private:
  void do_dropout(const api::Dropout& args) override;
  void do_uniform(const api::RandomUniform& args) override;
  void do_normal(const api::RandomNormal& args) override;
  Elsewhere& elsewhere_;
};

class CastElsewhere : public api::CastOps {
 public:
  explicit CastElsewhere(Elsewhere& elsewhere) : elsewhere_(elsewhere) {}

 private:
  void do_cast(const core::Tensor& x, const core::Tensor& y) override;
  void do_pack_triangle(const core::Tensor& full, const core::Tensor& packed) override;
  void do_unpack_triangle(const core::Tensor& packed, const core::Tensor& full) override;
  Elsewhere& elsewhere_;
};

}  // namespace isaribi::cuda
