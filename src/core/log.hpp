// SPDX-License-Identifier: MIT
// The voice of the program: rank 0 speaks, the others are silent unless something is wrong with
// just them. Plain lines to standard output (results) and standard error (warnings), never a
// carriage return.
#pragma once

#include <fmt/format.h>

#include <cstdio>
#include <set>
#include <string>
#include <utility>

namespace isaribi::core {

class Log {
 public:
  enum class Level { quiet, info, debug };

  /// A log that prints on rank 0 only.
  explicit Log(int rank = 0, Level level = Level::info) : rank_(rank), level_(level) {}

  template <typename... Args>
  void info(fmt::format_string<Args...> format, Args&&... args) {
    if (speaks() && level_ != Level::quiet)
      line(stdout, "", fmt::format(format, std::forward<Args>(args)...));
  }
  template <typename... Args>
  void debug(fmt::format_string<Args...> format, Args&&... args) {
    if (speaks() && level_ == Level::debug)
      line(stdout, "debug: ", fmt::format(format, std::forward<Args>(args)...));
  }
  template <typename... Args>
  void warn(fmt::format_string<Args...> format, Args&&... args) {
    if (speaks()) line(stderr, "warning: ", fmt::format(format, std::forward<Args>(args)...));
  }
  /// Like warn, but each distinct text once in the life of this log (backend fallbacks, precision
  /// changes).
  template <typename... Args>
  void warn_once(fmt::format_string<Args...> format, Args&&... args) {
    std::string text = fmt::format(format, std::forward<Args>(args)...);
    if (speaks() && said_.insert(text).second) line(stderr, "note: ", text);
  }

  bool speaks() const { return rank_ == 0; }
  int rank() const { return rank_; }

 private:
  static void line(std::FILE* stream, const char* prefix, const std::string& text);

  int rank_;
  Level level_;
  std::set<std::string> said_;
};

}  // namespace isaribi::core
