// SPDX-License-Identifier: MIT
// The symmetric eigenproblem, in a file of its own (linalg_eigen.cpp).
#pragma once

#include "backends/kokkos/queue.hpp"

namespace isaribi::kokkos {

/// a [n, n] becomes the eigenvectors in its columns, w [n] the ascending eigenvalues; only the
/// lower triangle of a is read. Arithmetic in f64. Waits. @return 0, or > 0 when the QL iteration
/// did not converge. T: float, double.
template <typename T>
int symmetric_eigen(Queue& queue, Index n, T* a, T* w);

}  // namespace isaribi::kokkos
