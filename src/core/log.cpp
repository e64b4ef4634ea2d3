// SPDX-License-Identifier: MIT
#include "core/log.hpp"

namespace isaribi::core {

void Log::line(std::FILE* stream, const char* prefix, const std::string& text) {
  const std::string whole =
      prefix + text + "\n";  // one write: lines of several ranks do not interleave
  std::fwrite(whole.data(), 1, whole.size(), stream);
  std::fflush(stream);
}

}  // namespace isaribi::core
