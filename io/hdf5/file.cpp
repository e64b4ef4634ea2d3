// SPDX-License-Identifier: MIT
// Opening, creating and closing files; walking their groups.
#include "io/hdf5/file.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <exception>
#include <fstream>
#include <optional>
#include <utility>

#include "comm/communicator.hpp"
#include "comm/mpi_handle.hpp"
#include "core/error.hpp"
#include "io/hdf5/call.hpp"

namespace isaribi::hdf5 {
namespace {

/// Access properties: the v1.8 file format, whose headers carry checksums and whose attributes may
/// exceed 64 KiB; closing the file closes all that is open in it. Readers take no file lock: files
/// are never changed in place, and several parallel file systems offer none.
Id access_list(bool writing) {
  Id list(H5Pcreate(H5P_FILE_ACCESS));
  H5Pset_libver_bounds(list.get(), H5F_LIBVER_V18, H5F_LIBVER_V18);
  H5Pset_fclose_degree(list.get(), H5F_CLOSE_STRONG);
  H5Pset_file_locking(list.get(), writing, true);
  H5Pset_sieve_buf_size(list.get(), 0);  // what is written is written, so that errors show at once
  return list;
}

/// Adds the MPI-IO driver and returns `comm`; null when the POSIX driver does: no communicator, one
/// without MPI, or one of a single rank. No collective metadata reads: they are broken in HDF5
/// 1.10.5 to 1.10.8.
comm::Communicator* add_mpi(const Id& list, comm::Communicator* comm, const std::string& path) {
  if (comm == nullptr || comm->size() == 1 || comm::mpi_comm(*comm) == MPI_COMM_NULL)
    return nullptr;
  check(H5Pset_fapl_mpio(list.get(), comm::mpi_comm(*comm), MPI_INFO_NULL), path, "", "use MPI-IO");
  return comm;
}

/// Says why `path` cannot be a file of ours before HDF5 does so in its own words.
void require_hdf5_here(const std::string& path) {
  struct stat status {};
  if (stat(path.c_str(), &status) != 0) {
    const int error = errno;
    throw core::DataError(path, std::string("cannot open: ") + std::strerror(error),
                          error == ENOENT ? "check the path in the deck or on the command line"
                                          : hint_for(std::strerror(error)));
  }
  if (!S_ISREG(status.st_mode))
    throw core::DataError(path, "cannot open: not a regular file", "name a file, not a folder");
  std::array<char, 8> head{};
  std::ifstream in(path, std::ios::binary);
  if (!in) {
    const std::string cause = std::strerror(errno);
    throw core::DataError(path, "cannot open: " + cause, hint_for(cause));
  }
  in.read(head.data(), head.size());
  if (in.gcount() == 0) throw core::DataError(path, "the file is empty", "write it again");
  if (std::memcmp(head.data(), "\x89HDF\r\n\x1a\n", head.size()) != 0) {
    throw core::DataError(path, "this is not an HDF5 file",
                          "raw data sets become HDF5 by `isaribi convert`");
  }
}

/// The same on all ranks: an error of one is an error of all.
void require_hdf5(const std::string& path, comm::Communicator* comm) {
  if (comm == nullptr) return require_hdf5_here(path);
  std::exception_ptr error;
  try {
    require_hdf5_here(path);
  } catch (const core::DataError&) {
    error = std::current_exception();
  }
  const bool all = comm->all_reduce(std::int64_t{!error}, comm::ReduceOp::min) == 1;
  if (error) std::rethrow_exception(error);
  if (!all) raise_remote(path, "", "open");
}

/// The state of a file that all ranks have opened, or the same error on all of them.
std::shared_ptr<FileState> agreed_state(hid_t id, const std::string& path, comm::Communicator* comm,
                                        bool writing) {
  const char* action = writing ? "create" : "open";
  const bool all =
      comm == nullptr || comm->all_reduce(std::int64_t{id >= 0}, comm::ReduceOp::min) == 1;
  check(id, path, "", action);
  if (!all) raise_remote(path, "", action);  // closing is collective: the identifier is left open
  return std::make_shared<FileState>(id, path, comm, writing);
}

std::shared_ptr<FileState> open_state(const std::string& path, comm::Communicator* comm) {
  require_hdf5(path, comm);
  const Id list = access_list(false);
  comm = add_mpi(list, comm, path);
  return agreed_state(H5Fopen(path.c_str(), H5F_ACC_RDONLY, list.get()), path, comm, false);
}

std::shared_ptr<FileState> create_state(const std::string& path, comm::Communicator* comm) {
  const Id list = access_list(true);
  comm = add_mpi(list, comm, path);
  const hid_t id = H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, list.get());
  return agreed_state(id, path, comm, true);
}

std::int64_t open_root(const FileState& state) {
  return check(H5Gopen2(state.id, "/", H5P_DEFAULT), state.path, "", "open its root group");
}

/// Link creation properties that make the groups on the way.
Id make_groups_on_the_way() {
  Id list(H5Pcreate(H5P_LINK_CREATE));
  H5Pset_create_intermediate_group(list.get(), 1);
  return list;
}

}  // namespace

Object::Object(std::shared_ptr<FileState> file, std::int64_t id, std::string path)
    : file_(std::move(file)),
      id_(new Id(id),
          [owner = file_](Id* last) {
            const auto lock = enter();
            // Closing the file has closed this object, and HDF5 may have given its number anew.
            if (owner->id < 0) last->release();
            delete last;
          }),
      path_(std::move(path)) {}

const std::string& Object::file_path() const {
  return file_->path;
}

void Object::fail(const std::string& action) const {
  const auto lock = enter();
  raise(file_->path, path_, action);
}

Group::Group(std::shared_ptr<FileState> file, std::int64_t id, std::string path)
    : Object(std::move(file), id, std::move(path)) {}

std::string Group::below(const std::string& name) const {
  return path() == "/" ? "/" + name : path() + "/" + name;
}

std::vector<std::string> Group::children() const {
  const auto lock = enter();
  H5G_info_t info;
  if (H5Gget_info(id(), &info) < 0) fail("list its members");
  std::vector<std::string> names;
  for (hsize_t i = 0; i < info.nlinks; ++i) {
    const ssize_t size =
        H5Lget_name_by_idx(id(), ".", H5_INDEX_NAME, H5_ITER_INC, i, nullptr, 0, H5P_DEFAULT);
    if (size < 0) fail("list its members");
    std::string name(static_cast<std::size_t>(size) + 1, '\0');
    H5Lget_name_by_idx(id(), ".", H5_INDEX_NAME, H5_ITER_INC, i, name.data(), name.size(),
                       H5P_DEFAULT);
    name.pop_back();
    names.push_back(std::move(name));
  }
  std::sort(names.begin(), names.end());
  return names;
}

bool Group::has(const std::string& name) const {
  const auto lock = enter();
  // H5Lexists fails where a group on the way is missing, so each part is asked in turn.
  for (std::size_t end = name.find('/'); true; end = name.find('/', end + 1)) {
    const htri_t found = H5Lexists(id(), name.substr(0, end).c_str(), H5P_DEFAULT);
    if (found < 0) fail("look for " + name);
    if (found == 0) return false;
    if (end == std::string::npos) return true;
  }
}

bool Group::is_group(const std::string& name) const {
  const auto lock = enter();
  if (!has(name)) return false;
  const Id object(H5Oopen(id(), name.c_str(), H5P_DEFAULT));
  if (object.get() < 0) fail("open " + name);
  return H5Iget_type(object.get()) == H5I_GROUP;
}

Group Group::group(const std::string& name) const {
  const auto lock = enter();
  if (!has(name)) throw core::DataError(file_path(), "group " + below(name) + " is missing");
  const hid_t child = H5Gopen2(id(), name.c_str(), H5P_DEFAULT);
  if (child < 0) fail("open group " + name);
  return Group(file_, child, below(name));
}

Dataset Group::dataset(const std::string& name) const {
  const auto lock = enter();
  if (!has(name)) throw core::DataError(file_path(), "dataset " + below(name) + " is missing");
  const hid_t child = H5Dopen2(id(), name.c_str(), H5P_DEFAULT);
  if (child < 0) fail("open dataset " + name);
  return Dataset(file_, child, below(name), std::nullopt);
}

Group Group::create_group(const std::string& name) {
  const auto lock = enter();
  const Id links = make_groups_on_the_way();
  const hid_t child = H5Gcreate2(id(), name.c_str(), links.get(), H5P_DEFAULT, H5P_DEFAULT);
  if (child < 0) fail("create group " + name);
  return Group(file_, child, below(name));
}

Dataset Group::create_dataset(const std::string& name, const core::Shape& shape, core::DType type) {
  const auto lock = enter();
  std::vector<hsize_t> extents(shape.extents().begin(), shape.extents().end());
  const Id space(shape.rank() == 0 ? H5Screate(H5S_SCALAR)
                                   : H5Screate_simple(shape.rank(), extents.data(), nullptr));
  const Id element = make_type(type), links = make_groups_on_the_way();
  const Id properties(H5Pcreate(H5P_DATASET_CREATE));
  H5Pset_layout(properties.get(), H5D_CONTIGUOUS);
  H5Pset_alloc_time(properties.get(), H5D_ALLOC_TIME_EARLY);
  H5Pset_fill_time(properties.get(), H5D_FILL_TIME_NEVER);
  const hid_t child = H5Dcreate2(id(), name.c_str(), element.get(), space.get(), links.get(),
                                 properties.get(), H5P_DEFAULT);
  if (child < 0) fail("create dataset " + name);
  const haddr_t offset = H5Dget_offset(child);
  H5Eclear2(H5E_DEFAULT);  // an empty dataset has no address
  if (offset != HADDR_UNDEF) file_->grown_to(offset + H5Dget_storage_size(child));
  Dataset made(file_, child, below(name), type);
  if (type == core::DType::bf16) made.set("dtype", std::string(core::name_of(type)));
  return made;
}

File::File(std::shared_ptr<FileState> file, std::int64_t root)
    : Group(std::move(file), root, "/") {}

File File::open(const std::string& path) {
  const auto lock = enter();
  auto state = open_state(path, nullptr);
  const std::int64_t root = open_root(*state);
  return File(std::move(state), root);
}

File File::open(const std::string& path, comm::Communicator& comm) {
  const auto lock = enter();
  auto state = open_state(path, &comm);
  const std::int64_t root = open_root(*state);
  return File(std::move(state), root);
}

File File::create(const std::string& path) {
  const auto lock = enter();
  auto state = create_state(path, nullptr);
  const std::int64_t root = open_root(*state);
  return File(std::move(state), root);
}

File File::create(const std::string& path, comm::Communicator& comm) {
  const auto lock = enter();
  auto state = create_state(path, &comm);
  const std::int64_t root = open_root(*state);
  return File(std::move(state), root);
}

void File::flush() {
  const auto lock = enter();
  std::string cause;
  if (const int error = file_->reserve(); error != 0) {
    cause = std::strerror(error);
  } else if (H5Fflush(file_->id, H5F_SCOPE_LOCAL) < 0) {
    cause = take_cause();
  } else {
    return;
  }
  file_->abandon();
  throw core::DataError(file_path(), "cannot write: " + cause, hint_for(cause));
}

void File::close() {
  const auto lock = enter();
  if (file_->id < 0) return;
  if (file_->writing) flush();
  if (H5Fclose(std::exchange(file_->id, -1)) < 0) fail("close");
}

void File::abandon() {
  file_->abandon();
}

}  // namespace isaribi::hdf5
