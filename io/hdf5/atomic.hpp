// SPDX-License-Identifier: MIT
// Files that appear whole or not at all: written under a temporary name beside their place, synced
// to the disk, then renamed. A kill at any moment leaves the old file or the new one.
#pragma once

#include <string>

namespace isaribi::hdf5 {

/// Waits until the file or folder at `path` is on the disk. @throws DataError.
void fsync_path(const std::string& path);

/// Renames `from` to `to` in one step, replacing `to`, and syncs the folder. @throws DataError.
void replace_file(const std::string& from, const std::string& to);

/// A file in the making: everything is written to temporary(), commit() puts it in its place.
/// Destroyed without a commit it removes the temporary file.
class AtomicFile {
 public:
  /// @param replace whether an existing file at `path` may be replaced.
  /// @throws DataError when it exists and may not, or when its folder is missing or not writable.
  explicit AtomicFile(std::string path, bool replace = true);
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  ~AtomicFile();

  const std::string& temporary() const { return temporary_; }
  /// Syncs and renames; the temporary file must be closed. @throws DataError.
  void commit();

 private:
  std::string path_, temporary_;
  bool committed_ = false;
};

}  // namespace isaribi::hdf5
