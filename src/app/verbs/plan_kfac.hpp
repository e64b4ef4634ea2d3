// SPDX-License-Identifier: MIT
// The part of `isaribi plan` that second-order optimizers need.
#pragma once

#include "backends/api/backend.hpp"
#include "core/log.hpp"
#include "nn/graph.hpp"
#include "train/config.hpp"

namespace isaribi::app {

/// Owners, factors and inversion times per layer; memory, bytes and predicted seconds per step of
/// the busiest rank. `backend` is timed for a moment. @param samples of one rank per step
/// @param gigabytes per second that a rank sends, for the prediction
void kfac_table(const nn::Graph& graph, const train::Config& config, int ranks,
                std::int64_t samples, double gigabytes, api::Backend& backend, core::Log& log);

/// "1.25 MiB".
std::string bytes_text(double bytes);

}  // namespace isaribi::app
