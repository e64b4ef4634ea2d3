// SPDX-License-Identifier: MIT
// Matrices of Kronecker form times vectors: the natural directions of the layers of a network.
#pragma once

#include <span>
#include <vector>

#include "core/tensor.hpp"

namespace isaribi::api {

/// Y = L X R for one layer: the Kronecker product of R^T and L times the columns of X (Van Loan,
/// "The ubiquitous Kronecker product", J. Comput. Appl. Math. 123, 2000). Types: f32 and f64, all
/// the same.
struct KroneckerProduct {
  core::Tensor left;   ///< [M, M]
  core::Tensor x;      ///< [M, N]
  core::Tensor right;  ///< [N, N]
  core::Tensor half;   ///< [M, N], scratch: undefined afterwards
  core::Tensor y;      ///< out: [M, N]
  /// out: the columns of Y once more, each [M, C_k]; or none.
  std::vector<core::Tensor> parts = {};
  double inner = 0;  ///< out: the sum of x o y, f64 inside, in an order that shapes decide
};

/// @throws ShapeError when operands do not fit together.
void check_kronecker(std::span<const KroneckerProduct> products);

}  // namespace isaribi::api
