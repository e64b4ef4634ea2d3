// SPDX-License-Identifier: MIT
// The door of isaribi_cuda.so: whether CUDA works here, and the backend if it does. No exception
// may leave through the C function, and none is thrown in it.
#include "backends/api/module.hpp"

#include <memory>

#include "backends/cuda/backend.hpp"

namespace isaribi::cuda {
namespace {

const char* why_unusable() {
  int count = 0;
  switch (cudaGetDeviceCount(&count)) {
    case cudaSuccess:
      return count > 0 ? nullptr : "no GPU";
    case cudaErrorNoDevice:
      return "no GPU";
    case cudaErrorInsufficientDriver: {
      // The same status stands for "too old" and for "not installed".
      int driver = 0;
      const bool known = cudaDriverGetVersion(&driver) == cudaSuccess && driver > 0;
      return known ? "the driver is older than the CUDA of this build" : "no driver";
    }
    case cudaErrorStubLibrary:
      return "no driver";
    case cudaErrorSystemDriverMismatch:
      return "driver and driver library do not match";
    default:
      return "the driver refused (nvidia-smi may tell why)";
  }
}

api::Backend* create(const api::Options& options, api::Backend* fallback, core::Log&) {
  return new CudaBackend(options.device, std::unique_ptr<api::Backend>(fallback));
}

}  // namespace
}  // namespace isaribi::cuda

extern "C" __attribute__((visibility("default"))) const isaribi::api::Module*
isaribi_backend_module() {
  static const isaribi::api::Module module{{isaribi::api::kModuleAbi, isaribi::cuda::why_unusable},
                                           isaribi::cuda::create};
  return &module;
}
