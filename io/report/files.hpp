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

/// An advisory lock on a file (flock), held until this or the process ends, by a kill, too. Where
/// the file system knows no locks (ENOLCK, ENOSYS, EOPNOTSUPP), everyone gets it.
class FileLock {
 public:
  FileLock() = default;
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;
  ~FileLock();
  /// Creates `path` if need be, and writes `holder` into it. @return "", or who holds it
  /// @throws DataError when the file cannot be opened or locked.
  std::string take(const std::string& path, const std::string& holder);

 private:
  int file_ = -1;
};

}  // namespace isaribi::report
