// SPDX-License-Identifier: MIT
// Calls of CUDA and NCCL that may fail.
#pragma once

#include <cuda_runtime.h>
#include <nccl.h>

namespace isaribi::comm::nccl {

/// @throws core::CommError with the library's words
void check(cudaError_t status, const char* call);
void check(ncclResult_t status, const char* call, ncclComm_t comm = nullptr);

}  // namespace isaribi::comm::nccl
