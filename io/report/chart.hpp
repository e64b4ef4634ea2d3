// SPDX-License-Identifier: MIT
// A line chart as a value, and two ways to draw it: a PNG file and an SVG text. Both come from one
// drawing routine on Cairo, so that the picture in a folder and the one in a page are the same.
#pragma once

#include <string>
#include <vector>

namespace isaribi::report {

/// One curve. Points whose y is not finite break the line.
struct Series {
  std::string label;
  std::vector<double> x, y;
  int color =
      0;  ///< index into a palette that colour-blind readers can tell apart (Okabe & Ito 2008)
  bool faint = false;     ///< thin and pale: what another curve is seen against
  bool filled = false;    ///< the area down to the axis, for shares that are stacked
  bool markers = false;   ///< a dot at each point, for few points
  std::string note = {};  ///< written beside the last point
};

struct Chart {
  std::string title, x_label, y_label;
  std::vector<Series> series;
  bool log_y = false;
  bool percent = false;  ///< y values are fractions, shown as percent
  double focus = 1;      ///< share of the values, the highest ones, that the y axis must show
  bool from_zero = false;
};

/// Draws at twice the nominal 760 x 440 points, for sharp text. @throws DataError when `path`
/// cannot be written.
void write_png(const Chart& chart, const std::string& path);

/// The chart as a self-contained <svg> element.
std::string svg_text(const Chart& chart);

}  // namespace isaribi::report
