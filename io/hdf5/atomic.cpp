// SPDX-License-Identifier: MIT
#include "io/hdf5/atomic.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "core/error.hpp"
#include "io/hdf5/call.hpp"

namespace isaribi::hdf5 {
namespace {

[[noreturn]] void raise_errno(const std::string& path, const std::string& action, int error) {
  const std::string cause = std::strerror(error);
  throw core::DataError(path, "cannot " + action + ": " + cause, hint_for(cause));
}

std::string folder_of(const std::string& path) {
  const std::string folder = std::filesystem::path(path).parent_path().string();
  return folder.empty() ? "." : folder;
}

}  // namespace

void fsync_path(const std::string& path) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) raise_errno(path, "open", errno);
  const int result = ::fsync(file), error = errno;
  ::close(file);
  // Some file systems sync no folders and say EINVAL; there is nothing more to do then.
  if (result != 0 && error != EINVAL) raise_errno(path, "sync to the disk", error);
}

void replace_file(const std::string& from, const std::string& to) {
  if (std::rename(from.c_str(), to.c_str()) != 0)
    raise_errno(to, "rename " + from + " to it", errno);
  fsync_path(folder_of(to));
}

AtomicFile::AtomicFile(std::string path, bool replace) : path_(std::move(path)) {
  temporary_ = fmt::format("{}.{}.tmp", path_, ::getpid());
  std::error_code error;
  if (std::filesystem::is_directory(path_, error))
    throw core::DataError(path_, "is a folder", "name a file");
  if (!replace && std::filesystem::exists(path_, error))
    throw core::DataError(path_, "exists already", "choose another name, or --force to replace it");
  const std::string folder = folder_of(path_);
  if (!std::filesystem::is_directory(folder, error))
    throw core::DataError(path_, "its folder does not exist", "create it: mkdir -p " + folder);
  const int file = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (file < 0) raise_errno(path_, "create", errno);
  ::close(file);
}

AtomicFile::~AtomicFile() {
  if (!committed_) ::unlink(temporary_.c_str());
}

void AtomicFile::commit() {
  fsync_path(temporary_);
  replace_file(temporary_, path_);
  committed_ = true;
}

}  // namespace isaribi::hdf5
