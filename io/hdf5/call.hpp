// SPDX-License-Identifier: MIT
// Private to io/hdf5: the lock around every HDF5 call, and the way from the HDF5 error stack to a
// core::DataError.
#pragma once

#include <hdf5.h>

#include <memory>
#include <mutex>
#include <string>

#include "core/dtype.hpp"
#include "io/hdf5/file.hpp"

namespace isaribi::hdf5 {

static_assert(sizeof(hid_t) == sizeof(std::int64_t), "HDF5 before 1.10 is not supported");

/// Takes the lock of the process and silences the automatic printing of HDF5 errors.
std::unique_lock<std::recursive_mutex> enter();

/// The innermost cause on the HDF5 error stack in a few words ("No space left on device"), then
/// clears the stack. `why` when the stack is empty.
std::string take_cause(const std::string& why = "unknown HDF5 error");

/// What to do about `cause`, or "" where nothing useful can be said.
std::string hint_for(const std::string& cause);

/// @throws DataError(file, "<place>: cannot <action>: <cause>") when `result` is negative.
template <typename R>
R check(R result, const std::string& file, const std::string& place, const char* action);
[[noreturn]] void raise(const std::string& file, const std::string& place,
                        const std::string& action);
/// The same for a failure that only another rank saw.
[[noreturn]] void raise_remote(const std::string& file, const std::string& place,
                               const std::string& action);

/// The HDF5 type of `type`, in memory and in our files alike (both little-endian).
Id make_type(core::DType type);

/// One open file. Destroyed while still open it is closed; one that was being written is abandoned.
struct FileState {
  /// @param comm_ the ranks that share the file; null when it is this rank's alone.
  FileState(hid_t id_, std::string path_, comm::Communicator* comm_, bool writing_);
  FileState(const FileState&) = delete;
  FileState& operator=(const FileState&) = delete;
  ~FileState();

  /// The file needs the bytes up to `end`.
  void grown_to(std::uint64_t end);
  /// Takes the disk space that the file still needs; 0 or the errno that says why there is none,
  /// the same on all ranks. Collective.
  int reserve();
  /// Whether `good` holds on all ranks that share the file. Collective; without MPI just `good`.
  bool agree(bool good) const;
  /// Closes without caring what reaches the disk.
  void abandon();

  hid_t id;
  std::string path;
  comm::Communicator* comm;
  bool writing;
  bool reserved = true;  ///< false when the file has grown since

 private:
  void detach() const;
  std::uint64_t device_ = 0, inode_ = 0, end_ = 0;
  int exceptions_;
};

template <typename R>
R check(R result, const std::string& file, const std::string& place, const char* action) {
  if (result < 0) raise(file, place, action);
  return result;
}

}  // namespace isaribi::hdf5
