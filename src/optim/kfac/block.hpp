// SPDX-License-Identifier: MIT
// The block of the Fisher that belongs to one layer: F = A x G (Kronecker) for affine layers, 2 x 2
// per channel for norms. Data only; statistics.cpp fills it, inverse.cpp inverts it, direction.cpp
// applies it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/tensor.hpp"
#include "nn/curvature.hpp"
#include "optim/kfac/refresh.hpp"

namespace isaribi::optim::kfac {

/// A symmetric statistic of one layer: the factor A or G, [groups, dim, dim], of which the lower
/// triangles are kept, row by row; or the unit-wise Fisher of a norm, [3, channels]; or the second
/// moments of EKFAC, [groups, outputs, columns].
struct Statistic {
  enum class Form : std::uint8_t { none, symmetric, norm, dense };
  std::string name;  ///< "conv1/A": in files and tables
  Form form = Form::none;
  core::Shape shape;
  core::Tensor local;    ///< sums over this rank's samples, in the backend's memory; [groups, dim
                         ///< (dim + 1) / 2] where symmetric, else of `shape`
  core::Tensor packed;   ///< host, flat: what travels to the owner; `local` itself if that is there
  core::Tensor average;  ///< host f64, like packed: mean over time, on the owner
  core::Tensor last,
      before_last;           ///< like average: the two newest values of it, for the adaptive rule
  std::int64_t updates = 0;  ///< that entered the average
  Refresh refresh;

  // While a step runs.
  bool wanted = false;        ///< it is due
  std::int64_t expected = 0;  ///< contributions of this rank to come
  std::int64_t seen = 0;      ///< contributions so far

  bool exists() const { return form != Form::none; }
  core::Shape local_shape() const;
  /// Elements of `packed`.
  std::int64_t packed_count() const;
};

/// How the inversions of a layer went, counted since the start of the job.
struct InverseReport {
  std::int64_t retries = 0;  ///< Cholesky factorisations that failed
  std::int64_t eigen = 0;    ///< inversions that needed the eigenvalues in f64
  std::int64_t kept = 0;     ///< inversions that failed: the previous inverse stays
  double damping = 0;        ///< lambda of the last one, as raised by retries
};

/// What preconditions the gradient of one affine layer, [groups, ..] in the backend's memory.
/// Cholesky: a = (A + pi sqrt(lambda) I)^-1, g = (G + sqrt(lambda) / pi I)^-1. Eigen: a and g hold
/// eigenvectors in their columns, `divisors` 1 / (d_g d_a^T + lambda) [groups, outputs, columns].
struct Inverse {
  core::Tensor a, g, divisors;
  core::Tensor next_a, next_g;      ///< Cholesky, on the owner: room for those to come
  core::Tensor damping;             ///< likewise: host f64 [2], what is on the diagonals of A and G
  core::Tensor values_a, values_g;  ///< eigen: host f64 [groups, dim], eigenvalues
  core::Tensor norm;                ///< norm layers: host f64 [3, channels], the averaged Fisher
  std::int64_t step = 0;            ///< of the last inversion; 0: none yet
  InverseReport report;
};

struct Block {
  std::string name;  ///< of the layer that owns the parameters
  nn::Curvature shape;
  std::int64_t uses = 1;       ///< layers that share the parameters
  std::int64_t positions = 1;  ///< R: places of one sample where they are used, all uses
  int owner = 0;
  Statistic a, g, moments;
  Inverse inverse;
  core::Tensor gradient, direction;  ///< [groups * outputs, columns], type of the weights; of the
                                     ///< direction see precondition()
  core::Tensor scratch;              ///< like direction
  core::Tensor mean_a, mean_g;  ///< KFAC-reduce: sums over the uses so far, [batch, groups, dim]
  std::int64_t uses_a = 0, uses_g = 0;  ///< KFAC-reduce: uses in those sums
  double product = 0;                   ///< <U, grad> of the last direction

  bool affine() const { return shape.kind == nn::Curvature::Kind::affine; }
  /// Columns of the weight matrix with the bias.
  std::int64_t columns() const { return shape.inputs + (shape.bias != nullptr ? 1 : 0); }
  /// Group k of a [groups, rows, columns] tensor as a matrix.
  static core::Tensor group(const core::Tensor& t, std::int64_t k) {
    const core::Shape& s = t.shape();
    return t.slice(k * s[1] * s[2], {s[1], s[2]});
  }
};

}  // namespace isaribi::optim::kfac
