// SPDX-License-Identifier: MIT
// Turns the status of every CUDA and cuBLAS call into an exception that names the call.
#pragma once

#include <cublas_v2.h>
#include <cuda_runtime_api.h>

namespace isaribi::cuda {

/// @throws core::Error (internal) when `status` is a failure; `what` names the call.
void check(cudaError_t status, const char* what);
void check(cublasStatus_t status, const char* what);

}  // namespace isaribi::cuda
