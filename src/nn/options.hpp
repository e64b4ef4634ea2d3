// SPDX-License-Identifier: MIT
// Reads the options of one layer of the deck: every option is asked for by name, with its default
// and its bounds; what is left over was misspelt and is reported with the nearest name that exists.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "nn/model_spec.hpp"

namespace isaribi::nn {

/// The candidate with the smallest edit distance to `word`, or "" when none is similar.
std::string nearest_name(std::string_view word, const std::vector<std::string>& candidates);

class OptionReader {
 public:
  explicit OptionReader(const LayerSpec& spec) : spec_(spec) {}

  const LayerSpec& spec() const { return spec_; }
  bool has(const std::string& name) const;
  /// A number in [low, high]. @throws UsageError.
  double number(const std::string& name, double fallback, double low, double high);
  /// A whole number of at least `low`. @throws UsageError.
  std::int64_t integer(const std::string& name, std::int64_t fallback, std::int64_t low);
  /// The same, but it must be given (`what` says what it is) unless `fallback` > 0.
  std::int64_t required(const std::string& name, std::int64_t fallback, std::int64_t low,
                        std::string_view what);
  /// true / false (1 / 0).
  bool flag(const std::string& name, bool fallback);
  /// One of `allowed` (any text when empty).
  std::string text(const std::string& name, const std::string& fallback,
                   const std::vector<std::string>& allowed);
  /// @throws UsageError when the deck gives an option that nothing asked for.
  void finish() const;
  /// "deck.toml:12: layer 'conv2'"
  std::string where() const;

 private:
  const LayerSpec& spec_;
  std::vector<std::string> known_;
};

}  // namespace isaribi::nn
