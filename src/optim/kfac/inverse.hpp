// SPDX-License-Identifier: MIT
// From averaged factors to what preconditions: damped inverses by Cholesky (factored Tikhonov), or
// eigenvectors (exact Tikhonov, EKFAC). An inversion that fails is tried again with ten times the
// damping, then by eigenvalues in f64, and if that fails, too, the previous one is kept.
#pragma once

#include <cstdint>

#include "backends/api/backend.hpp"
#include "optim/kfac/block.hpp"
#include "optim/kfac/damping.hpp"
#include "optim/kfac/settings.hpp"

namespace isaribi::optim::kfac {

/// The factors that are new since the last inversion.
struct Renewed {
  bool a = true, g = true;
};

/// Renews block.inverse from the averages, which this rank must have; `step` is noted. Eigenvectors
/// are those of the renewed factors. Cholesky inverts these alone while lambda is the same and the
/// split that the other factor was damped with is within a tenth of what it would be now, so that
/// the two dampings make lambda at all times; else both.
void invert(Block& block, const KfacSettings& settings, double lambda, std::int64_t step,
            const Renewed& renewed, api::Backend& backend);

/// Eigen: block.inverse.divisors = 1 / (S + lambda), S the second moments of EKFAC once there are
/// some, else d_g d_a^T. On every rank that works on the block, whenever S or lambda changes.
void renew_divisors(Block& block, double lambda, api::Backend& backend);

/// Mean of the diagonal over all groups of a packed symmetric average [groups, dim (dim + 1) / 2].
double mean_diagonal(const core::Tensor& packed, std::int64_t groups, std::int64_t dim);

/// Group k of a packed average as a full matrix [dim, dim], f64 on the host.
core::Tensor unpacked(const core::Tensor& packed, std::int64_t k, std::int64_t dim);

}  // namespace isaribi::optim::kfac
