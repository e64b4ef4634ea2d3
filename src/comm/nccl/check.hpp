// SPDX-License-Identifier: MIT
// Calls of NCCL, and of the CUDA runtime that its interface is made of and its header brings, that
// may fail.
#pragma once

#include <nccl.h>

namespace isaribi::comm::nccl {

/// @throws core::CommError with the library's words
void check(cudaError_t status, const char* call);
void check(ncclResult_t status, const char* call, ncclComm_t comm = nullptr);

}  // namespace isaribi::comm::nccl
