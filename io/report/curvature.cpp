// SPDX-License-Identifier: MIT
#include "io/report/curvature.hpp"

#include <functional>
#include <nlohmann/json.hpp>

namespace isaribi::report {
namespace {

using nlohmann::json;
using Value = std::function<double(const json&)>;

/// One curve per layer, in the order of the network.
Chart per_layer(const std::vector<json>& rows, Chart chart, const Value& value) {
  std::vector<std::string> names;
  for (const json& row : rows) {
    if (row.value("kind", "") != "layer") continue;
    const std::string name = row.value("layer", "");
    std::size_t at = 0;
    while (at < names.size() && names[at] != name) ++at;
    if (at == names.size()) {
      names.push_back(name);
      chart.series.push_back({.label = name, .x = {}, .y = {}, .color = static_cast<int>(at)});
    }
    const double y = value(row);
    if (chart.log_y && y <= 0) continue;  // a layer without gradients has no curvature yet
    chart.series[at].x.push_back(row.value("step", 0.0));
    chart.series[at].y.push_back(y);
  }
  std::erase_if(chart.series, [](const Series& s) { return s.x.empty(); });
  return chart;
}

/// Curves of the records about the whole network.
Chart of_network(const std::vector<json>& rows, Chart chart,
                 const std::vector<std::pair<const char*, const char*>>& keys) {
  int color = 0;
  for (const auto& [key, label] : keys) {
    Series s{.label = label, .x = {}, .y = {}, .color = color++};
    for (const json& row : rows) {
      if (row.value("kind", "") != "curvature" || !row.contains(key)) continue;
      s.x.push_back(row.value("step", 0.0));
      s.y.push_back(row[key].get<double>());
    }
    if (!s.x.empty()) chart.series.push_back(std::move(s));
  }
  return chart;
}

double against_damping(const json& row, const char* key) {
  const double damping = row.value("damping", 0.0);
  return damping > 0 ? row.value(key, 0.0) / damping : 0;
}

}  // namespace

std::vector<std::pair<std::string, Chart>> curvature_charts(const std::vector<json>& rows) {
  std::vector<std::pair<std::string, Chart>> all;
  const auto layers = [&](const char* file, const char* title, const char* label, bool log,
                          const Value& value) {
    all.push_back(
        {file,
         per_layer(
             rows,
             {.title = title, .x_label = "step", .y_label = label, .series = {}, .log_y = log},
             value)});
  };
  layers("top_eigenvalue.png", "Curvature", "top eigenvalue / damping", true,
         [](const json& row) { return against_damping(row, "top_eigenvalue"); });
  layers("median_eigenvalue.png", "Typical curvature", "median eigenvalue / damping", true,
         [](const json& row) { return against_damping(row, "median_eigenvalue"); });
  layers("cosine.png", "How far the direction turns", "cosine between gradient and direction",
         false, [](const json& row) { return row.value("cosine", 0.0); });
  layers("factor_age.png", "Age of the factors", "steps since their renewal", false,
         [](const json& row) { return row.value("factor_age", 0.0); });
  all.push_back({"damping.png", of_network(rows,
                                           {.title = "Damping and trust region",
                                            .x_label = "step",
                                            .y_label = "lambda; shortest step of an interval",
                                            .series = {},
                                            .log_y = true},
                                           {{"damping", "damping"},
                                            {"kl_clip_factor", "KL clip, smallest factor"}})});
  all.push_back({"curvature_time.png", of_network(rows,
                                                  {.title = "Time of second-order work",
                                                   .x_label = "step",
                                                   .y_label = "seconds per interval, rank 0",
                                                   .series = {},
                                                   .from_zero = true},
                                                  {{"seconds_factors", "factors"},
                                                   {"seconds_inverses", "inverses"},
                                                   {"seconds_precondition", "directions"},
                                                   {"seconds_exchange", "exchange"}})});
  std::erase_if(all, [](const auto& f) { return f.second.series.empty(); });
  return all;
}

}  // namespace isaribi::report
