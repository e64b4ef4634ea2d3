// SPDX-License-Identifier: MIT
// Matrices of Kronecker form times vectors: the natural directions of the layers of a network.
#pragma once

#include <span>
#include <utility>
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

/// Products of several layers, to be computed again and again while x, or what it is gathered from,
/// changes. A plan may hold left and right in a form of its own: once their contents change, only a
/// new plan gives the right products.
class KroneckerPlan {
 public:
  explicit KroneckerPlan(std::vector<KroneckerProduct> products) : products_(std::move(products)) {}
  virtual ~KroneckerPlan() = default;
  KroneckerPlan(const KroneckerPlan&) = delete;
  KroneckerPlan& operator=(const KroneckerPlan&) = delete;

  /// Computes all products.
  virtual void run() = 0;
  /// In the order in which they were given.
  std::span<const KroneckerProduct> products() const { return products_; }

 protected:
  std::vector<KroneckerProduct> products_;
};

}  // namespace isaribi::api
