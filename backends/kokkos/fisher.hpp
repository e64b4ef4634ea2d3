// SPDX-License-Identifier: MIT
// The one operation of the factor family that is not about patches or positions.
#pragma once

#include "backends/api/factor.hpp"
#include "backends/kokkos/queue.hpp"

namespace isaribi::kokkos {

/// api::FactorOps::fisher_vectors. T: float, double.
template <typename T>
void fisher_vectors(const Queue& queue, const api::FisherVectors& args);

}  // namespace isaribi::kokkos
