// SPDX-License-Identifier: MIT
// What the parts of the table of keys share. Internal to schema*.cpp.
#pragma once

#include <string>
#include <vector>

#include "app/schema.hpp"

namespace isaribi::app {

inline Limits at_least(double low) {
  return {.low = low};
}
inline Limits above(double low) {
  return {.low = low, .above_low = true};
}
inline Limits from_to(double low, double high) {
  return {.low = low, .high = high};
}
inline Limits one_of(std::vector<std::string> choices) {
  return {.choices = std::move(choices)};
}

/// [kfac] and [diagnostics].
void add_second_order(std::vector<Key>& table);

}  // namespace isaribi::app
