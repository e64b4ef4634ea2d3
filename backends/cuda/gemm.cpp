// SPDX-License-Identifier: MIT
// GEMM by cuBLAS. Our matrices are row-major, cuBLAS reads column-major: the memory of a row-major
// C is the column-major C^T, and C^T = op(B)^T op(A)^T, so A and B change places and nothing is
// transposed.
#include <algorithm>
#include <cstdint>

#include "backends/cuda/backend.hpp"
#include "core/error.hpp"

namespace isaribi::cuda {
namespace {

cublasOperation_t operation(bool transpose) {
  return transpose ? CUBLAS_OP_T : CUBLAS_OP_N;
}

}  // namespace

void Linalg::do_gemm(const api::Gemm& args) {
  const std::int64_t m = args.c.shape()[0], n = args.c.shape()[1];
  const std::int64_t k = args.a.shape()[args.transpose_a ? 0 : 1];
  if (m == 0 || n == 0) return;
  const auto leading = [](const core::Tensor& x) {
    return std::max<std::int64_t>(1, x.shape()[1]);
  };
  const std::int64_t lda = leading(args.a), ldb = leading(args.b), ldc = leading(args.c);
  const auto op_a = operation(args.transpose_a), op_b = operation(args.transpose_b);
  // cuBLAS does not read C when beta is exactly 0, as the interface promises.
  if (args.c.dtype() == core::DType::f32) {
    const float alpha = static_cast<float>(args.alpha), beta = static_cast<float>(args.beta);
    check(cublasSgemm_64(queue_.blas(), op_b, op_a, n, m, k, &alpha, args.b.data<float>(), ldb,
                         args.a.data<float>(), lda, &beta, args.c.data<float>(), ldc),
          "cublasSgemm");
  } else if (args.c.dtype() == core::DType::f64) {
    check(cublasDgemm_64(queue_.blas(), op_b, op_a, n, m, k, &args.alpha, args.b.data<double>(),
                         ldb, args.a.data<double>(), lda, &args.beta, args.c.data<double>(), ldc),
          "cublasDgemm");
  } else {
    throw core::InternalError("cuda gemm: f32 or f64 expected");
  }
}

}  // namespace isaribi::cuda
