// SPDX-License-Identifier: MIT
// The CUDA backend: one stream of one GPU, with the cuBLAS handle that is bound to it.
#pragma once

#include <memory>
#include <string>

#include "backends/api/registry.hpp"
#include "backends/cuda/check.hpp"
#include "backends/cuda/elsewhere.hpp"
#include "backends/cuda/memory.hpp"

namespace isaribi::cuda {

/// Makes the device of this thread's CUDA calls the one of a backend. Cheap when it already is.
void use_device(int device);

/// The stream and the cuBLAS handle; freed together.
class Queue {
 public:
  explicit Queue(int device);
  ~Queue();
  Queue(const Queue&) = delete;
  Queue& operator=(const Queue&) = delete;

  int device() const { return device_; }
  /// Also selects the device, so every launch goes through here.
  cudaStream_t stream() const;
  cublasHandle_t blas() const;

 private:
  int device_;
  cudaStream_t stream_ = nullptr;
  cublasHandle_t blas_ = nullptr;
};

/// GEMM by cuBLAS; the rest of the family elsewhere.
class Linalg final : public LinalgElsewhere {
 public:
  Linalg(Queue& queue, Elsewhere& elsewhere) : LinalgElsewhere(elsewhere), queue_(queue) {}

 private:
  void do_gemm(const api::Gemm& args) override;
  Queue& queue_;
};

/// Elementwise kernels of our own; concatenation and reductions elsewhere.
class Elementwise final : public ElementwiseElsewhere {
 public:
  Elementwise(Queue& queue, Elsewhere& elsewhere)
      : ElementwiseElsewhere(elsewhere), queue_(queue) {}

 private:
  void do_activation_forward(const api::ActivationForward& args) override;
  void do_activation_backward(const api::ActivationBackward& args) override;
  void do_add(const api::Add& args) override;
  void do_axpby(const api::Axpby& args) override;
  void do_fill(const api::Fill& args) override;
  void do_add_bias(const api::AddBias& args) override;
  Queue& queue_;
};

class Update final : public api::UpdateOps {
 public:
  explicit Update(Queue& queue) : queue_(queue) {}

 private:
  void do_sgd(const api::SgdUpdate& args) override;
  void do_adam(const api::AdamUpdate& args) override;
  Queue& queue_;
};

class CudaBackend final : public api::Backend {
 public:
  /// @throws core::UsageError when GPU number `device` does not exist.
  CudaBackend(int device, std::unique_ptr<api::Backend> fallback);
  ~CudaBackend() override;

  std::string_view name() const override { return "cuda"; }
  std::string description() const override;
  bool owns(api::Op op, core::DType type) const override;
  core::MemoryResource& memory() override { return *memory_; }
  void copy(const core::Tensor& src, const core::Tensor& dst) override;
  void synchronize() override;
  std::unique_ptr<api::Backend> fork() override;

  api::ConvOps& conv() override { return conv_; }
  api::LinearOps& linear() override { return linear_; }
  api::LinalgOps& linalg() override { return linalg_; }
  api::FactorOps& factor() override { return factor_; }
  api::NormOps& norm() override { return norm_; }
  api::PoolOps& pool() override { return pool_; }
  api::ElementwiseOps& elementwise() override { return elementwise_; }
  api::LossOps& loss() override { return loss_; }
  api::RandomOps& random() override { return random_; }
  api::UpdateOps& update() override { return update_; }
  api::CastOps& cast() override { return cast_; }

 private:
  CudaBackend(std::shared_ptr<DeviceMemory> memory, std::unique_ptr<api::Backend> fallback);

  std::shared_ptr<DeviceMemory> memory_;  // shared by forks
  std::unique_ptr<api::Backend> fallback_;
  Queue queue_;
  Elsewhere elsewhere_;
  ConvElsewhere conv_;
  LinearElsewhere linear_;
  Linalg linalg_;
  FactorElsewhere factor_;
  NormElsewhere norm_;
  PoolElsewhere pool_;
  Elementwise elementwise_;
  LossElsewhere loss_;
  RandomElsewhere random_;
  Update update_;
  CastElsewhere cast_;
};

}  // namespace isaribi::cuda
