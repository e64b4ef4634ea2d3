// SPDX-License-Identifier: MIT
// The optimizers behind make_optimizer, and what they share. Internal to optim.
#pragma once

#include <memory>
#include <span>

#include "optim/optimizer.hpp"
#include "optim/preconditioner.hpp"

namespace isaribi::optim {

using Parameters = std::span<nn::Parameter* const>;

std::unique_ptr<Optimizer> make_sgd(const OptimizerSettings& settings, const Subject& subject,
                                    api::Backend& backend, comm::Communicator& comm);
std::unique_ptr<Optimizer> make_adamw(const OptimizerSettings& settings, const Subject& subject,
                                      api::Backend& backend, comm::Communicator& comm);

/// Descent along the directions of `preconditioner` (preconditioned.cpp).
std::unique_ptr<Optimizer> make_preconditioned(const OptimizerSettings& settings,
                                               const KfacSettings& kfac, const Subject& subject,
                                               std::unique_ptr<Preconditioner> preconditioner,
                                               api::Backend& backend);

/// @throws UsageError for settings that do not go with a preconditioner.
void check_preconditioned(const OptimizerSettings& settings);

/// Collective where parameters are sharded: scales all gradients so that their common Euclidean
/// norm is at most `bound`; 0: leaves them.
void clip_gradients(Parameters parameters, double bound, api::Backend& backend,
                    comm::Communicator& comm);
/// weight_decay, or 0 for a parameter that it spares.
double decay_of(const OptimizerSettings& settings, const nn::Parameter& parameter);
/// One zeroed tensor like the value of each parameter.
std::vector<core::Tensor> zeros_like(Parameters parameters, api::Backend& backend);
/// Appends "PREFIX/conv1/weight" and so on.
void append_named(std::vector<core::NamedTensor>& list, const char* prefix, Parameters parameters,
                  const std::vector<core::Tensor>& tensors);

}  // namespace isaribi::optim
