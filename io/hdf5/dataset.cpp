// SPDX-License-Identifier: MIT
// Moving elements between memory and contiguous datasets, by ranges of the flattened array.
#include <algorithm>
#include <array>
#include <cstring>

#include "core/error.hpp"
#include "io/hdf5/call.hpp"

namespace isaribi::hdf5 {
namespace {

/// One call moves at most this much: MPI counts are 32-bit, and MPI-IO of several libraries fails
/// beyond 2 GiB.
constexpr std::int64_t kMaxBytesPerCall = std::int64_t{1} << 30;

/// Adds the elements [begin, end) of the flattened array to the selection of `space`, as boxes: a
/// ragged head, whole rows, a ragged tail, each level down one axis. `start` holds the indices of
/// the axes above `axis`.
bool select_boxes(hid_t space, const core::Shape& shape, int axis,
                  std::array<hsize_t, core::Shape::kMaxRank> start, std::int64_t begin,
                  std::int64_t end) {
  if (begin >= end) return true;
  std::int64_t row = 1;  // elements per index of `axis`
  for (int a = axis + 1; a < shape.rank(); ++a) row *= shape[a];
  const std::int64_t first = (begin + row - 1) / row, last = end / row;
  const auto descend = [&](std::int64_t index, std::int64_t from, std::int64_t to) {
    auto inner = start;
    inner[static_cast<std::size_t>(axis)] = static_cast<hsize_t>(index);
    return select_boxes(space, shape, axis + 1, inner, from - index * row, to - index * row);
  };
  if (first > last) return descend(last, begin, end);  // inside one row
  if (begin < first * row && !descend(first - 1, begin, first * row)) return false;
  if (first < last) {
    std::array<hsize_t, core::Shape::kMaxRank> count{};
    for (int a = 0; a < shape.rank(); ++a) {
      const auto i = static_cast<std::size_t>(a);
      count[i] = a < axis ? 1 : static_cast<hsize_t>(a == axis ? last - first : shape[a]);
      if (a >= axis) start[i] = a == axis ? static_cast<hsize_t>(first) : 0;
    }
    if (H5Sselect_hyperslab(space, H5S_SELECT_OR, start.data(), nullptr, count.data(), nullptr) < 0)
      return false;
  }
  return last * row >= end || descend(last, last * row, end);
}

/// Selects [begin, begin + count) of `space`, which describes `shape`.
bool select_range(hid_t space, const core::Shape& shape, std::int64_t begin, std::int64_t count) {
  if (count == 0) return H5Sselect_none(space) >= 0;
  if (count == shape.count()) return H5Sselect_all(space) >= 0;
  if (H5Sselect_none(space) < 0) return false;
  return select_boxes(space, shape, 0, {}, begin, begin + count);
}

core::DType type_in_file(hid_t type, const Object& object) {
  const H5T_class_t kind = H5Tget_class(type);
  const std::size_t size = H5Tget_size(type);
  const bool is_signed = kind == H5T_INTEGER && H5Tget_sign(type) == H5T_SGN_2;
  if (kind == H5T_FLOAT && size == 8) return core::DType::f64;
  if (kind == H5T_FLOAT && size == 4) return core::DType::f32;
  if (kind == H5T_FLOAT && size == 2) return core::DType::f16;
  if (kind == H5T_INTEGER && size == 1) return is_signed ? core::DType::i8 : core::DType::u8;
  if (kind == H5T_INTEGER && size == 4 && is_signed) return core::DType::i32;
  if (kind == H5T_INTEGER && size == 2 && object.has_attribute("dtype") &&
      object.attribute("dtype") == Attribute(std::string("bf16"))) {
    return core::DType::bf16;
  }
  throw core::DataError(object.file_path(),
                        object.path() +
                            ": its element type is none of ours (f64 f32 f16 bf16 i8 "
                            "u8 i32)");
}

}  // namespace

Dataset::Dataset(std::shared_ptr<FileState> file, std::int64_t id, std::string path,
                 std::optional<core::DType> type)
    : Object(std::move(file), id, std::move(path)) {
  const Id space(H5Dget_space(id)), stored(H5Dget_type(id));
  if (space.get() < 0 || stored.get() < 0) fail("read its header");
  const int rank = H5Sget_simple_extent_ndims(space.get());
  if (rank < 0 || rank > core::Shape::kMaxRank)
    throw core::DataError(file_path(), this->path() + ": it has too many axes");
  std::array<hsize_t, core::Shape::kMaxRank> extents{};
  if (H5Sget_simple_extent_dims(space.get(), extents.data(), nullptr) < 0) fail("read its shape");
  std::array<std::int64_t, core::Shape::kMaxRank> signed_extents{};
  std::copy(extents.begin(), extents.end(), signed_extents.begin());
  shape_ = core::Shape(std::span(signed_extents.data(), static_cast<std::size_t>(rank)));
  type_ = type ? *type : type_in_file(stored.get(), *this);
}

void Dataset::write(const core::Tensor& tensor, Transfer transfer) {
  if (tensor.count() != shape_.count())
    throw core::InternalError(path() + ": wrote " + tensor.shape().text() + " to " + shape_.text());
  write_range(0, tensor, transfer);
}

void Dataset::write_range(std::int64_t begin, const core::Tensor& part, Transfer transfer) {
  if (part.dtype() != type_) throw core::InternalError(path() + ": written with another type");
  transfer_range(Direction::write, begin, part.count(), part.raw(), transfer);
}

core::Tensor Dataset::read() const {
  core::Tensor out(shape_, type_);
  read_range(0, out);
  return out;
}

void Dataset::read_range(std::int64_t begin, core::Tensor& part, Transfer transfer) const {
  if (part.dtype() != type_) throw core::InternalError(path() + ": read as another type");
  transfer_range(Direction::read, begin, part.count(), part.raw(), transfer);
}

void Dataset::read_rows(std::int64_t begin, core::Tensor& rows, Transfer transfer) const {
  if (shape_.rank() == 0 || rows.shape().rank() == 0 ||
      rows.shape().count_per_sample() != shape_.count_per_sample())
    throw core::InternalError(path() + ": rows of " + rows.shape().text() + " from " +
                              shape_.text());
  read_range(begin * shape_.count_per_sample(), rows, transfer);
}

std::int64_t Dataset::stored_bytes() const {
  const auto lock = enter();
  return static_cast<std::int64_t>(H5Dget_storage_size(id()));
}

void Dataset::transfer_range(Direction direction, std::int64_t begin, std::int64_t count,
                             void* memory, Transfer transfer) const {
  const char* action = direction == Direction::write ? "write" : "read";
  if (begin < 0 || begin + count > shape_.count())
    throw core::InternalError(path() + ": range outside of " + shape_.text());
  const auto lock = enter();
  const auto element_bytes = static_cast<std::int64_t>(core::size_of(type_));
  const std::int64_t step = kMaxBytesPerCall / element_bytes;
  const bool collective = file_->comm != nullptr && transfer == Transfer::collective;
  // In a collective transfer all ranks make the same number of calls, however long their parts are.
  const std::int64_t total = collective ? shape_.count() : count;
  const std::int64_t calls = (total + step - 1) / step;
  const Id type = make_type(type_), properties(H5Pcreate(H5P_DATASET_XFER));
  if (collective) H5Pset_dxpl_mpio(properties.get(), H5FD_MPIO_COLLECTIVE);
  // A full disk must show before the data moves: Open MPI's collective writes can hang on it.
  if (direction == Direction::write && !file_->reserved && (collective || file_->comm == nullptr)) {
    if (const int error = file_->reserve(); error != 0) {
      const std::string cause = std::strerror(error);
      throw core::DataError(file_path(), path() + ": cannot write: " + cause, hint_for(cause));
    }
  }
  std::byte nothing{};  // HDF5 wants an address even for an empty selection
  for (std::int64_t call = 0; call < calls; ++call) {
    const std::int64_t done = std::min(call * step, count), now = std::min(step, count - done);
    const Id file_space(H5Dget_space(id()));
    const hsize_t extent = static_cast<hsize_t>(std::max<std::int64_t>(now, 1));
    const Id memory_space(H5Screate_simple(1, &extent, nullptr));
    if (now == 0) H5Sselect_none(memory_space.get());
    if (!select_range(file_space.get(), shape_, begin + done, now))
      throw core::InternalError(path() + ": HDF5 refused a selection");
    void* address = now == 0 ? &nothing : static_cast<std::byte*>(memory) + done * element_bytes;
    const herr_t result = direction == Direction::write
                              ? H5Dwrite(id(), type.get(), memory_space.get(), file_space.get(),
                                         properties.get(), address)
                              : H5Dread(id(), type.get(), memory_space.get(), file_space.get(),
                                        properties.get(), address);
    const bool good = collective ? file_->agree(result >= 0) : result >= 0;
    if (result < 0) fail(action);
    if (!good) raise_remote(file_path(), path(), action);
  }
}

}  // namespace isaribi::hdf5
