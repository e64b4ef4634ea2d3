// SPDX-License-Identifier: MIT
// A table of ratios as coloured cells with their numbers: below 1 orange, above 1 blue.
#pragma once

#include <string>
#include <vector>

namespace isaribi::report {

struct HeatMap {
  std::string title;
  std::vector<std::string> columns, rows;
  std::vector<std::vector<double>> values;  ///< [rows][columns], ratios; 0: not measured
};

/// As large as the table needs. @throws DataError when `path` cannot be written.
void write_png(const HeatMap& map, const std::string& path);

}  // namespace isaribi::report
