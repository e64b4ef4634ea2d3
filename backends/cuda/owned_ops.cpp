// SPDX-License-Identifier: MIT
// The operations whose code is here. selftest compares exactly these with the oracle.
#include "backends/cuda/backend.hpp"

namespace isaribi::cuda {

bool CudaBackend::owns(api::Op op, core::DType type) const {
  using api::Op;
  const bool real = type == core::DType::f32 || type == core::DType::f64;
  switch (op) {
    case Op::fill:
      return true;
    case Op::gemm:
    case Op::activation_forward:
    case Op::activation_backward:
    case Op::add:
    case Op::axpby:
    case Op::add_bias:
    case Op::sgd_update:
    case Op::adam_update:
      return real;
    default:
      return false;
  }
}

}  // namespace isaribi::cuda
