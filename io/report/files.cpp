// SPDX-License-Identifier: MIT
#include "io/report/files.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <sstream>

#include "core/error.hpp"

namespace isaribi::report {
namespace {

std::string hint_for(int error) {
  switch (error) {
    case ENOSPC:
    case EDQUOT:
      return "the disk or quota is full: free some space, or set run/dir to another file system";
    case EROFS:
    case EACCES:
    case EPERM:
      return "choose a run folder that can be written to: run/dir";
    case ENOTDIR:
    case EEXIST:
      return "a file of that name is in the way: choose another folder";
    case ENOENT:
      return "check the path";
    default:
      return "";
  }
}

/// Writes all of `text`; 0 or the error.
int write_all(int file, const std::string& text) {
  std::size_t done = 0;
  while (done < text.size()) {
    const ssize_t written = ::write(file, text.data() + done, text.size() - done);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return written == 0 ? ENOSPC : errno;
    done += static_cast<std::size_t>(written);
  }
  return 0;
}

}  // namespace

void raise_errno(const std::string& path, const std::string& action, int error) {
  throw core::DataError(path, "cannot " + action + ": " + std::strerror(error), hint_for(error));
}

std::string read_text(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) raise_errno(path, "open", errno);
  std::ostringstream text;
  text << in.rdbuf();
  if (in.bad()) raise_errno(path, "read", EIO);
  return text.str();
}

void replace_text(const std::string& path, const std::string& text) {
  const std::string temporary = path + ".tmp";
  const int file = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (file < 0) raise_errno(path, "create", errno);
  int error = write_all(file, text);
  if (error == 0 && ::fsync(file) != 0 && errno != EINVAL) error = errno;
  if (::close(file) != 0 && error == 0) error = errno;
  if (error == 0 && std::rename(temporary.c_str(), path.c_str()) != 0) error = errno;
  if (error != 0) {
    ::unlink(temporary.c_str());
    raise_errno(path, "write", error);
  }
}

FileLock::~FileLock() {
  if (file_ >= 0) ::close(file_);
}

std::string FileLock::take(const std::string& path, const std::string& holder) {
  file_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (file_ < 0) raise_errno(path, "open", errno);
  if (::flock(file_, LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK) {
      const std::string other = read_text(path);
      return other.empty() ? "another process" : other;
    }
    if (errno != ENOLCK && errno != ENOSYS && errno != EOPNOTSUPP) raise_errno(path, "lock", errno);
  }
  int error = ::ftruncate(file_, 0) == 0 ? 0 : errno;
  if (error == 0) error = write_all(file_, holder);
  if (error != 0) raise_errno(path, "write", error);
  return "";
}

}  // namespace isaribi::report
