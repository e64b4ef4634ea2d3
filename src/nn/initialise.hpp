// SPDX-License-Identifier: MIT
// Starting values of parameters. The default of a layer is chosen for accuracy on par with PyTorch
// recipes; a deck may name another with init = "...".
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "nn/parameter.hpp"

namespace isaribi::nn {

/// "he_fan_in", "he_fan_out", "glorot", "uniform_fan_in": values of the deck key init.
const std::vector<std::string>& initialiser_names();
/// The initialiser `name` for a weight with these fans (inputs and outputs per unit, kernel taps
/// included). he_*: normal, sd sqrt(2 / fan) (He et al. 2015); glorot: uniform, bound
/// sqrt(6 / (in + out)) (Glorot & Bengio 2010); uniform_fan_in: bound 1 / sqrt(in) (PyTorch's
/// default).
Initialiser make_initialiser(const std::string& name, double fan_in, double fan_out);

/// Fills host tensor `values` (f32 or f64): element i is a function of (seed, id, i) only.
void initialise(const Initialiser& how, std::uint64_t seed, std::uint32_t id,
                const core::Tensor& values);

}  // namespace isaribi::nn
