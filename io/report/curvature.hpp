// SPDX-License-Identifier: MIT
// Figures of a second-order run: what its layers told about their curvature.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <utility>
#include <vector>

#include "io/report/chart.hpp"

namespace isaribi::report {

/// File name and chart; empty for a run whose metrics.jsonl holds no record "layer".
std::vector<std::pair<std::string, Chart>> curvature_charts(
    const std::vector<nlohmann::json>& rows);

}  // namespace isaribi::report
