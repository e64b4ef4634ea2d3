// SPDX-License-Identifier: MIT
// The end of a file whose writing failed. In HDF5 (1.10 at least) a flush that failed can never
// succeed again, and an identifier whose close failed crashes the program at its end. So the disk
// space is reserved before the flush, and an abandoned file first has its descriptors pointed at
// anonymous memory, where the rest of the metadata goes without harm; this frees its disk space
// too.
#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <exception>
#include <utility>

#include "comm/communicator.hpp"
#include "io/hdf5/call.hpp"

namespace isaribi::hdf5 {
namespace {

/// Lifts the soft limit on file sizes, which counts for anonymous memory too.
class NoSizeLimit {
 public:
  NoSizeLimit() {
    getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit lifted{before_.rlim_max, before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &lifted);
  }
  NoSizeLimit(const NoSizeLimit&) = delete;
  NoSizeLimit& operator=(const NoSizeLimit&) = delete;
  ~NoSizeLimit() { setrlimit(RLIMIT_FSIZE, &before_); }

 private:
  rlimit before_{};
};

/// Gives the file `size` bytes on the disk, without a change of its length when `keep_length`; 0,
/// or the errno that says why it does not fit.
int reserve_space(const std::string& path, off_t size, bool keep_length) {
  const int file = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
  if (file < 0) return errno;
  int error = fallocate(file, keep_length ? FALLOC_FL_KEEP_SIZE : 0, 0, size) == 0 ? 0 : errno;
  if (error != 0 && error != ENOSPC && error != EFBIG && error != EDQUOT) {
    // This file system cannot reserve: at least look how much is free.
    error = 0;
    struct stat now {};
    struct statvfs disk {};
    if (fstat(file, &now) == 0 && fstatvfs(file, &disk) == 0) {
      const double wanted = static_cast<double>(size) - 512.0 * static_cast<double>(now.st_blocks);
      const double free = static_cast<double>(disk.f_bavail) * static_cast<double>(disk.f_frsize);
      if (wanted > free) error = ENOSPC;
    }
  }
  ::close(file);
  return error;
}

}  // namespace

FileState::FileState(hid_t id_, std::string path_, comm::Communicator* comm_, bool writing_)
    : id(id_),
      path(std::move(path_)),
      comm(comm_),
      writing(writing_),
      exceptions_(std::uncaught_exceptions()) {
  struct stat status {};
  if (writing && stat(path.c_str(), &status) == 0) {
    device_ = status.st_dev;
    inode_ = status.st_ino;
  }
}

FileState::~FileState() {
  if (id < 0) return;
  const auto lock = enter();
  if (comm != nullptr && std::uncaught_exceptions() > exceptions_) {
    // Other ranks may never come here, so nothing collective: HDF5 closes it at MPI_Finalize.
    detach();
  } else if (writing) {
    abandon();
  } else {
    H5Fclose(id);
  }
}

bool FileState::agree(bool good) const {
  if (comm == nullptr) return good;
  return comm->all_reduce(std::int64_t{good}, comm::ReduceOp::min) == 1;
}

void FileState::grown_to(std::uint64_t end) {
  end_ = std::max(end_, end);
  reserved = false;
}

int FileState::reserve() {
  // HDF5 does not know the size of a file under MPI-IO: there the end of the last dataset counts,
  // and some room for the metadata behind it.
  constexpr std::uint64_t metadata = 256 << 10;
  std::uint64_t size = end_ + metadata;
  if (hsize_t exact = 0; comm == nullptr && H5Fget_filesize(id, &exact) >= 0) size = exact;
  int error = 0;
  if (comm == nullptr || comm->is_root())
    error = reserve_space(path, static_cast<off_t>(size), comm != nullptr);
  if (comm != nullptr) {
    error = static_cast<int>(comm->all_reduce(std::int64_t{error}, comm::ReduceOp::max));
  }
  reserved = error == 0;
  return error;
}

void FileState::abandon() {
  if (id < 0) return;
  const auto lock = enter();
  const NoSizeLimit lifted;
  detach();
  const bool flushed = H5Fflush(id, H5F_SCOPE_LOCAL) >= 0;
  const hid_t closing = std::exchange(id, -1);
  // A failing close would crash the program at its end (see above): rather leave the file open.
  if (flushed || comm != nullptr) H5Fclose(closing);
  H5Eclear2(H5E_DEFAULT);
}

void FileState::detach() const {
  if (inode_ == 0) return;
  DIR* folder = opendir("/proc/self/fd");
  if (folder == nullptr) return;
  const int memory = memfd_create("isaribi-abandoned", MFD_CLOEXEC);
  while (const dirent* entry = readdir(folder)) {
    const int file = std::atoi(entry->d_name);
    struct stat status {};
    if (entry->d_name[0] == '.' || fstat(file, &status) != 0) continue;
    if (status.st_dev == device_ && status.st_ino == inode_ && memory >= 0) dup2(memory, file);
  }
  if (memory >= 0) ::close(memory);
  closedir(folder);
}

}  // namespace isaribi::hdf5
