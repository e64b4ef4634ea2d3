// SPDX-License-Identifier: MIT
#include "nn/options.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/error.hpp"

namespace isaribi::nn {

std::string nearest_name(std::string_view word, const std::vector<std::string>& candidates) {
  std::string best;
  std::size_t best_distance = std::max<std::size_t>(2, word.size() / 2) + 1;
  for (const std::string& candidate : candidates) {
    // Levenshtein distance, one row at a time.
    std::vector<std::size_t> row(candidate.size() + 1);
    std::iota(row.begin(), row.end(), std::size_t{0});
    for (std::size_t i = 1; i <= word.size(); ++i) {
      std::size_t diagonal = row[0];
      row[0] = i;
      for (std::size_t j = 1; j <= candidate.size(); ++j) {
        const std::size_t replace = diagonal + (word[i - 1] == candidate[j - 1] ? 0 : 1);
        diagonal = row[j];
        row[j] = std::min({row[j] + 1, row[j - 1] + 1, replace});
      }
    }
    if (row.back() < best_distance) {
      best_distance = row.back();
      best = candidate;
    }
  }
  return best;
}

bool OptionReader::has(const std::string& name) const {
  return spec_.numbers.contains(name) || spec_.texts.contains(name);
}

std::string OptionReader::where() const {
  return (spec_.place.empty() ? "" : spec_.place + ": ") + "layer '" + spec_.name + "'";
}

double OptionReader::number(const std::string& name, double fallback, double low, double high) {
  known_.push_back(name);
  if (spec_.texts.contains(name)) {
    throw core::UsageError(
        fmt::format("{}: {} must be a number, got \"{}\"", where(), name, spec_.texts.at(name)));
  }
  const auto found = spec_.numbers.find(name);
  if (found == spec_.numbers.end()) return fallback;
  if (!(found->second >= low && found->second <= high)) {
    throw core::UsageError(fmt::format("{}: {} = {} is out of range", where(), name, found->second),
                           std::isinf(high) ? fmt::format("use a value of at least {}", low)
                                            : fmt::format("use a value from {} to {}", low, high));
  }
  return found->second;
}

std::int64_t OptionReader::integer(const std::string& name, std::int64_t fallback,
                                   std::int64_t low) {
  const double limit = 1e9;  // far beyond any extent, far below overflow
  const double value = number(name, static_cast<double>(fallback), static_cast<double>(low), limit);
  if (value != std::floor(value)) {
    throw core::UsageError(fmt::format("{}: {} = {} must be a whole number", where(), name, value));
  }
  return static_cast<std::int64_t>(value);
}

std::int64_t OptionReader::required(const std::string& name, std::int64_t fallback,
                                    std::int64_t low, std::string_view what) {
  if (!has(name) && fallback <= 0) {
    throw core::UsageError(fmt::format("{}: {} is missing", where(), name),
                           fmt::format("give {}: {}", name, what));
  }
  return integer(name, fallback, low);
}

bool OptionReader::flag(const std::string& name, bool fallback) {
  return integer(name, fallback ? 1 : 0, 0) != 0;
}

std::string OptionReader::text(const std::string& name, const std::string& fallback,
                               const std::vector<std::string>& allowed) {
  known_.push_back(name);
  if (spec_.numbers.contains(name)) {
    throw core::UsageError(
        fmt::format("{}: {} must be a text, got {}", where(), name, spec_.numbers.at(name)));
  }
  const auto found = spec_.texts.find(name);
  if (found == spec_.texts.end()) return fallback;
  if (!allowed.empty() &&
      std::find(allowed.begin(), allowed.end(), found->second) == allowed.end()) {
    throw core::UsageError(
        fmt::format("{}: {} = \"{}\" is not known", where(), name, found->second),
        fmt::format("use one of: {}", fmt::join(allowed, ", ")));
  }
  return found->second;
}

void OptionReader::finish() const {
  const auto check = [&](const std::string& name) {
    if (std::find(known_.begin(), known_.end(), name) != known_.end()) return;
    const std::string near = nearest_name(name, known_);
    const std::string all =
        known_.empty() ? "it takes none" : fmt::format("it takes: {}", fmt::join(known_, ", "));
    throw core::UsageError(
        fmt::format("{}: unknown option '{}' of a {} layer", where(), name, spec_.kind),
        near.empty() ? all : fmt::format("did you mean '{}'? {}", near, all));
  };
  for (const auto& [name, value] : spec_.numbers) check(name);
  for (const auto& [name, value] : spec_.texts) check(name);
}

}  // namespace isaribi::nn
