// SPDX-License-Identifier: MIT
#include "comm/nccl/check.hpp"

#include <string>

#include "core/error.hpp"

namespace isaribi::comm::nccl {

void check(cudaError_t status, const char* call) {
  if (status == cudaSuccess) return;
  throw core::CommError("NCCL: " + std::string(call) + ": " + cudaGetErrorString(status));
}

void check(ncclResult_t status, const char* call, ncclComm_t comm) {
  if (status == ncclSuccess) return;
  std::string text = "NCCL: " + std::string(call) + ": " + ncclGetErrorString(status);
  const char* more = ncclGetLastError(comm);
  if (more != nullptr && *more != '\0') text += " (" + std::string(more) + ")";
  throw core::CommError(text, "NCCL_DEBUG=INFO says more");
}

}  // namespace isaribi::comm::nccl
