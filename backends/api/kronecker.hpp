// SPDX-License-Identifier: MIT
// Matrices of Kronecker form times vectors: the natural directions of the layers of a network.
#pragma once

#include <span>
#include <vector>

#include "backends/api/elementwise.hpp"
#include "core/tensor.hpp"

namespace isaribi::api {

/// Y = L X R for one layer: the Kronecker product of R^T and L times the columns of X (Van Loan,
/// "The ubiquitous Kronecker product", J. Comput. Appl. Math. 123, 2000). Types: f32 and f64, all
/// the same.
struct KroneckerProduct {
  core::Tensor left;   ///< [M, M]
  core::Tensor x;      ///< [M, N]; out, if `gather` has parts
  core::Tensor right;  ///< [N, N]
  core::Tensor half;   ///< [M, N], scratch: undefined afterwards
  core::Tensor y;      ///< [M, N]; out, unless there are parts: then undefined afterwards
  /// What makes x, which is its y, unless it has no parts: the gradient of a layer.
  Concat gather = {};
  /// out: the columns of Y side by side, each [M, C_k]; or none.
  std::vector<core::Tensor> parts = {};
  double inner = 0;  ///< out: the sum of x o y, f64 inside, in an order that shapes decide
};

/// @throws ShapeError when operands do not fit together.
void check_kronecker(std::span<const KroneckerProduct> products);

}  // namespace isaribi::api
