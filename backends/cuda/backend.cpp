// SPDX-License-Identifier: MIT
#include "backends/cuda/backend.hpp"

#include <string>
#include <utility>

#include "backends/cuda/kernels.hpp"
#include "core/error.hpp"

namespace isaribi::cuda {
namespace {

int checked_device(int device) {
  int count = 0;
  check(cudaGetDeviceCount(&count), "cudaGetDeviceCount");
  if (device < 0 || device >= count)
    throw core::UsageError("GPU " + std::to_string(device) + " does not exist: this process sees " +
                               std::to_string(count),
                           "start at most one rank per GPU, or check CUDA_VISIBLE_DEVICES");
  return device;
}

std::string version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

}  // namespace

void use_device(int device) {
  check(cudaSetDevice(device), "cudaSetDevice");
}

Queue::Queue(int device) : device_(device) {
  use_device(device);
  check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreate");
  check(cublasCreate(&blas_), "cublasCreate");
  check(cublasSetStream(blas_, stream_), "cublasSetStream");
}

Queue::~Queue() {
  // Failures at the end of a life have nobody to tell.
  cudaSetDevice(device_);
  if (stream_) cudaStreamSynchronize(stream_);
  if (blas_) cublasDestroy(blas_);
  if (stream_) cudaStreamDestroy(stream_);
}

cudaStream_t Queue::stream() const {
  use_device(device_);
  return stream_;
}

cublasHandle_t Queue::blas() const {
  use_device(device_);
  return blas_;
}

CudaBackend::CudaBackend(int device, std::unique_ptr<api::Backend> fallback)
    : CudaBackend(std::make_shared<DeviceMemory>(checked_device(device)), std::move(fallback)) {}

CudaBackend::CudaBackend(std::shared_ptr<DeviceMemory> memory,
                         std::unique_ptr<api::Backend> fallback)
    : memory_(std::move(memory)),
      fallback_(std::move(fallback)),
      queue_(memory_->device().index),
      elsewhere_(*this, fallback_.get()),
      conv_(elsewhere_),
      linear_(elsewhere_),
      linalg_(queue_, elsewhere_),
      factor_(elsewhere_),
      norm_(elsewhere_),
      pool_(elsewhere_),
      elementwise_(queue_, elsewhere_),
      loss_(elsewhere_),
      random_(elsewhere_),
      update_(queue_),
      cast_(elsewhere_) {}

CudaBackend::~CudaBackend() = default;

std::string CudaBackend::description() const {
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, queue_.device()), "cudaGetDeviceProperties");
  int runtime = 0;
  check(cudaRuntimeGetVersion(&runtime), "cudaRuntimeGetVersion");
  return std::string(properties.name) + " (GPU " + std::to_string(queue_.device()) + ", compute " +
         std::to_string(properties.major) + "." + std::to_string(properties.minor) + "), CUDA " +
         version_text(runtime) + ", cuBLAS";
}

void CudaBackend::copy(const core::Tensor& src, const core::Tensor& dst) {
  if (src.count() != dst.count() || src.dtype() != dst.dtype())
    throw core::ShapeError("copy",
                           dst.shape().text() + " " + std::string(core::name_of(dst.dtype())),
                           src.shape().text() + " " + std::string(core::name_of(src.dtype())));
  if (src.bytes() == 0) return;
  check(cudaMemcpyAsync(dst.raw(), src.raw(), src.bytes(), cudaMemcpyDefault, queue_.stream()),
        "cudaMemcpyAsync");
}

void CudaBackend::synchronize() {
  check(cudaStreamSynchronize(queue_.stream()), "cudaStreamSynchronize");
}

std::unique_ptr<api::Backend> CudaBackend::fork() {
  return std::unique_ptr<api::Backend>(
      new CudaBackend(memory_, fallback_ ? fallback_->fork() : nullptr));
}

void Elementwise::do_activation_forward(const api::ActivationForward& args) {
  launch(args, queue_.stream());
}
void Elementwise::do_activation_backward(const api::ActivationBackward& args) {
  launch(args, queue_.stream());
}
void Elementwise::do_add(const api::Add& args) {
  launch(args, queue_.stream());
}
void Elementwise::do_axpby(const api::Axpby& args) {
  launch(args, queue_.stream());
}
void Elementwise::do_fill(const api::Fill& args) {
  launch(args, queue_.stream());
}
void Elementwise::do_add_bias(const api::AddBias& args) {
  launch(args, queue_.stream());
}
void Update::do_sgd(const api::SgdUpdate& args) {
  launch(args, queue_.stream());
}
void Update::do_adam(const api::AdamUpdate& args) {
  launch(args, queue_.stream());
}

}  // namespace isaribi::cuda
