// SPDX-License-Identifier: MIT
// HDF5 files as values: files, groups, datasets and attributes that close themselves, and whose
// every failure is a core::DataError naming file, object and cause. The only folder that knows
// HDF5; no HDF5 header leaks out of it. A collective call that fails on one rank fails on all of
// them. Any thread may call: one lock for the whole process is
// taken inside, because HDF5 itself is not thread-safe. Datasets are contiguous, without filters.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "core/tensor.hpp"

namespace isaribi::comm {
class Communicator;
}

namespace isaribi::hdf5 {

/// What an attribute may hold.
using Attribute = std::variant<std::int64_t, double, std::string, std::vector<std::int64_t>,
                               std::vector<double>, std::vector<std::string>>;

/// Who takes part in one transfer on a parallel file: all ranks in one call, or this rank alone.
/// The same on a serial file.
enum class Transfer { collective, independent };

/// A reference to an HDF5 identifier (hid_t), given back when the last owner goes.
class Id {
 public:
  Id() = default;
  explicit Id(std::int64_t value) : value_(value) {}
  Id(Id&& other) noexcept : value_(other.value_) { other.value_ = -1; }
  Id& operator=(Id&& other) noexcept;
  ~Id();
  std::int64_t get() const { return value_; }
  /// Forgets the identifier without giving it back.
  void release() { value_ = -1; }

 private:
  std::int64_t value_ = -1;
};

struct FileState;

/// What files, groups and datasets share: attributes. A handle: copies refer to the same object.
class Object {
 public:
  /// Writes or overwrites attribute `name`. On a parallel file: collective, the same on all ranks.
  void set(const std::string& name, const Attribute& value);
  bool has_attribute(const std::string& name) const;
  /// Sorted.
  std::vector<std::string> attribute_names() const;
  /// @throws DataError when it is missing or of a type no Attribute holds.
  Attribute attribute(const std::string& name) const;
  /// attribute(name) as one alternative, say attribute_as<std::string>("schema").
  /// @throws DataError when it is missing or of another type.
  template <typename T>
  T attribute_as(const std::string& name) const;

  /// Path inside the file, "/" for the root.
  const std::string& path() const { return path_; }
  /// The file this object is in, as it was opened.
  const std::string& file_path() const;

 protected:
  Object(std::shared_ptr<FileState> file, std::int64_t id, std::string path);
  /// @throws DataError: "<file>: <path>: cannot <action>: <cause>", from the HDF5 error stack.
  [[noreturn]] void fail(const std::string& action) const;
  std::int64_t id() const { return id_->get(); }

  std::shared_ptr<FileState> file_;

 private:
  std::shared_ptr<Id> id_;
  std::string path_;
};

/// A contiguous array of one of the core::DTypes. f16 is stored as IEEE binary16 (h5py: float16),
/// bf16 as u16 with the attribute dtype = "bf16".
class Dataset : public Object {
 public:
  const core::Shape& shape() const { return shape_; }
  core::DType dtype() const { return type_; }

  /// Writes all of it. On a parallel file only one rank may do so (Transfer::independent).
  void write(const core::Tensor& tensor, Transfer transfer = Transfer::independent);
  /// Writes `part` (any shape) as the elements [begin, begin + part.count()) of the flattened
  /// dataset. With Transfer::collective every rank of the file must call, an empty part included.
  void write_range(std::int64_t begin, const core::Tensor& part,
                   Transfer transfer = Transfer::collective);
  /// Reads all of it into host memory.
  core::Tensor read() const;
  /// Reads the elements [begin, begin + part.count()) of the flattened dataset into `part`.
  void read_range(std::int64_t begin, core::Tensor& part,
                  Transfer transfer = Transfer::independent) const;
  /// Reads rows [begin, begin + rows.shape()[0]) of the first axis into `rows`.
  void read_rows(std::int64_t begin, core::Tensor& rows,
                 Transfer transfer = Transfer::independent) const;
  /// Bytes really allocated in the file; 0 where the file lost the data.
  std::int64_t stored_bytes() const;

 private:
  friend class Group;
  Dataset(std::shared_ptr<FileState> file, std::int64_t id, std::string path,
          std::optional<core::DType> type);
  enum class Direction { write, read };
  void transfer_range(Direction direction, std::int64_t begin, std::int64_t count, void* memory,
                      Transfer transfer) const;

  core::Shape shape_;
  core::DType type_ = core::DType::f32;
};

class Group : public Object {
 public:
  /// Names of the groups and datasets in it, sorted.
  std::vector<std::string> children() const;
  /// Whether `name` (may be a path "a/b/c") exists below this group.
  bool has(const std::string& name) const;
  bool is_group(const std::string& name) const;
  Group group(const std::string& name) const;
  Dataset dataset(const std::string& name) const;
  /// Creates it, and the groups on the way to it. On a parallel file: collective.
  Group create_group(const std::string& name);
  Dataset create_dataset(const std::string& name, const core::Shape& shape, core::DType type);

 protected:
  Group(std::shared_ptr<FileState> file, std::int64_t id, std::string path);

 private:
  std::string below(const std::string& name) const;
};

/// An open file and its root group. Handles taken from it keep it open until close() is called.
class File : public Group {
 public:
  /// Opens for reading, this rank alone.
  /// @throws DataError: missing, not HDF5, truncated, not readable.
  static File open(const std::string& path);
  /// Opens for reading on all ranks of `comm` together (MPI-IO). Collective; `comm` must outlive
  /// the file.
  static File open(const std::string& path, comm::Communicator& comm);
  /// Creates the file, replacing an older one of that name, this rank alone. Write under a
  /// temporary name (atomic.hpp), never over a file that anyone needs.
  static File create(const std::string& path);
  /// Creates the file on all ranks of `comm` together (MPI-IO). Collective.
  static File create(const std::string& path, comm::Communicator& comm);

  /// Writes what HDF5 holds back to the system (not to the disk: see fsync_path). @throws DataError
  /// (disk full), after which the file is abandoned.
  void flush();
  /// Closes the file and every handle taken from it. Required after writing: only here is it known
  /// that all went well. On a parallel file: collective. @throws DataError (disk full), after which
  /// the file is abandoned.
  void close();
  /// Closes a file that is no longer wanted, after an error on any rank: never fails, and what is
  /// on the disk is worthless. On a parallel file: collective. Destroying a File under writing
  /// without close() does the same.
  void abandon();

 private:
  File(std::shared_ptr<FileState> file, std::int64_t root);
};

template <typename T>
T Object::attribute_as(const std::string& name) const {
  Attribute value = attribute(name);
  if (T* typed = std::get_if<T>(&value)) return std::move(*typed);
  fail("use attribute '" + name + "': it has another type than expected");
}

}  // namespace isaribi::hdf5
