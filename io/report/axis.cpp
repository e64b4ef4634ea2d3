// SPDX-License-Identifier: MIT
#include "io/report/axis.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace isaribi::report {
namespace {

// 1, 2 or 5 times a power of ten, near range / wanted.
double round_step(double range, int wanted) {
  const double raw = range / wanted;
  const double power = std::pow(10.0, std::floor(std::log10(raw)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (raw <= factor * power * 1.0001) return factor * power;
  }
  return 10 * power;
}

std::string label(double value, double step, bool percent) {
  if (percent) {
    const int digits = step * 100 >= 1 ? 0 : step * 100 >= 0.1 ? 1 : 2;
    return fmt::format("{:.{}f} %", value * 100, digits);
  }
  const double size = std::abs(value);
  if (size >= 1e6) return fmt::format("{:g} M", value / 1e6);
  if (size >= 1e4) return fmt::format("{:g} k", value / 1e3);
  return fmt::format("{:.6g}", std::abs(value) < step * 1e-6 ? 0.0 : value);
}

void add_linear_ticks(Axis& axis, bool percent, int wanted) {
  const double step = round_step(axis.high - axis.low, wanted);
  for (double t = std::ceil(axis.low / step) * step; t <= axis.high + step * 1e-9; t += step) {
    axis.ticks.push_back({t, label(t, step, percent)});
  }
}

void add_log_ticks(Axis& axis) {
  const bool few = std::log10(axis.high / axis.low) < 2;  // then 2 and 5 get a label, too
  for (double power = std::pow(10.0, std::floor(std::log10(axis.low))); power <= axis.high;
       power *= 10) {
    for (const double factor : {1.0, 2.0, 5.0}) {
      const double t = factor * power;
      if ((factor > 1 && !few) || t < axis.low || t > axis.high) continue;
      axis.ticks.push_back({t, fmt::format("{:.3g}", t)});
    }
  }
}

}  // namespace

double Axis::place(double value) const {
  if (log) return std::log(value / low) / std::log(high / low);
  return (value - low) / (high - low);
}

Axis make_axis(const std::vector<double>& values, bool log, bool percent, double air,
               int wanted_ticks) {
  double low = INFINITY, high = -INFINITY;
  for (const double v : values) {
    if (!std::isfinite(v) || (log && v <= 0)) continue;
    low = std::min(low, v);
    high = std::max(high, v);
  }
  Axis axis;
  axis.log = log;
  if (low > high) {
    low = log ? 0.1 : 0;
    high = 1;
  }
  if (low == high) {
    low -= log ? low / 2 : std::max(0.5, std::abs(low) / 2);
    high += log ? high : std::max(0.5, std::abs(high) / 2);
  }
  const double factor = log ? std::pow(high / low, air) : 0;
  axis.low = log ? low / factor : low - air * (high - low);
  axis.high = log ? high * factor : high + air * (high - low);
  if (log) {
    add_log_ticks(axis);
  } else {
    add_linear_ticks(axis, percent, wanted_ticks);
  }
  return axis;
}

}  // namespace isaribi::report
