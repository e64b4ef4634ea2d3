// SPDX-License-Identifier: MIT
#include "backends/cuda/check.hpp"

#include <string>

#include "core/error.hpp"

namespace isaribi::cuda {
namespace {

[[noreturn]] void fail(const char* what, const std::string& name, const std::string& text) {
  throw core::Error(core::ExitCode::internal,
                    "CUDA: " + std::string(what) + ": " + name + ": " + text,
                    "run under `compute-sanitizer` to find the first faulty operation; a GPU that "
                    "fell off the bus shows in `nvidia-smi` and in the system log");
}

}  // namespace

void check(cudaError_t status, const char* what) {
  if (status != cudaSuccess) fail(what, cudaGetErrorName(status), cudaGetErrorString(status));
}

void check(cublasStatus_t status, const char* what) {
  if (status != CUBLAS_STATUS_SUCCESS)
    fail(what, cublasGetStatusName(status), cublasGetStatusString(status));
}

}  // namespace isaribi::cuda
