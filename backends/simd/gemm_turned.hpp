// SPDX-License-Identifier: MIT
// Products that are better formed as C^T = B^T A^T and turned: where C has few columns that leave
// lanes empty, and of few rows by a transposed B, whose packing takes long beside so few
// multiply-adds (a linear layer of a small batch: its weights are then read where they lie, its
// inputs packed). The same bits either way.
#pragma once

#include "backends/simd/gemm.hpp"
#include "backends/simd/kernels.hpp"

namespace isaribi::simd {

/// Whether p is such a product. Never so for the product that multiply_turned makes of it.
bool better_turned(const Product& p, const Kernels& kernels);
void multiply_turned(const Product& p, Context& context);

}  // namespace isaribi::simd
