// SPDX-License-Identifier: MIT
// Small text files: read whole, replaced in one step. Errors name the file and what was tried.
#pragma once

#include <string>

namespace isaribi::report {

/// @throws DataError "PATH: cannot ACTION: reason" with a hint that fits the reason.
[[noreturn]] void raise_errno(const std::string& path, const std::string& action, int error);

/// The whole file. @throws DataError.
std::string read_text(const std::string& path);

/// Writes `text` beside `path`, flushes it to the disk and renames: a kill leaves the old file or
/// the new one. @throws DataError (disk full, read-only), leaving the old file.
void replace_text(const std::string& path, const std::string& text);

}  // namespace isaribi::report
