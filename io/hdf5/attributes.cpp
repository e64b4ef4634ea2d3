// SPDX-License-Identifier: MIT
// Attributes: scalars and lists of 64-bit integers, doubles and UTF-8 strings. Strings have
// variable length, which h5py shows as str and which has no 64 KiB limit.
#include <algorithm>
#include <cstring>

#include "core/error.hpp"
#include "io/hdf5/call.hpp"

namespace isaribi::hdf5 {
namespace {

Id string_type() {
  Id type(H5Tcopy(H5T_C_S1));
  H5Tset_size(type.get(), H5T_VARIABLE);
  H5Tset_cset(type.get(), H5T_CSET_UTF8);
  return type;
}

Id simple_space(std::size_t count) {
  const hsize_t extent = count;
  return Id(H5Screate_simple(1, &extent, nullptr));
}

/// What H5Awrite needs: a file type, a memory type, a space and the address of the values.
struct Encoded {
  Id type, space;
  const void* data = nullptr;
  std::vector<const char*> pointers;
};

Encoded encode(const Attribute& value) {
  Encoded e;
  if (const auto* i = std::get_if<std::int64_t>(&value)) {
    e = {Id(H5Tcopy(H5T_STD_I64LE)), Id(H5Screate(H5S_SCALAR)), i, {}};
  } else if (const auto* d = std::get_if<double>(&value)) {
    e = {Id(H5Tcopy(H5T_IEEE_F64LE)), Id(H5Screate(H5S_SCALAR)), d, {}};
  } else if (const auto* s = std::get_if<std::string>(&value)) {
    e = {string_type(), Id(H5Screate(H5S_SCALAR)), nullptr, {s->c_str()}};
  } else if (const auto* is = std::get_if<std::vector<std::int64_t>>(&value)) {
    e = {Id(H5Tcopy(H5T_STD_I64LE)), simple_space(is->size()), is->data(), {}};
  } else if (const auto* ds = std::get_if<std::vector<double>>(&value)) {
    e = {Id(H5Tcopy(H5T_IEEE_F64LE)), simple_space(ds->size()), ds->data(), {}};
  } else {
    const auto& ss = std::get<std::vector<std::string>>(value);
    e = {string_type(), simple_space(ss.size()), nullptr, {}};
    for (const std::string& text : ss) e.pointers.push_back(text.c_str());
  }
  if (!e.pointers.empty()) e.data = e.pointers.data();
  return e;
}

/// The strings of an attribute, stored with variable or fixed length. Empty optional on failure.
bool read_strings(hid_t attribute, hid_t type, hid_t space, std::size_t count,
                  std::vector<std::string>& out) {
  if (H5Tis_variable_str(type) > 0) {
    std::vector<char*> pointers(count, nullptr);
    Id memory = string_type();
    H5Tset_cset(memory.get(), H5Tget_cset(type));
    if (count > 0 && H5Aread(attribute, memory.get(), pointers.data()) < 0) return false;
    for (const char* p : pointers) out.emplace_back(p == nullptr ? "" : p);
    if (count > 0) H5Dvlen_reclaim(memory.get(), space, H5P_DEFAULT, pointers.data());
    return true;
  }
  const std::size_t size = H5Tget_size(type);
  std::vector<char> bytes(size * count);
  if (count > 0 && H5Aread(attribute, type, bytes.data()) < 0) return false;
  for (std::size_t i = 0; i < count; ++i) {
    const char* begin = bytes.data() + i * size;
    out.emplace_back(begin, strnlen(begin, size));
  }
  return true;
}

/// A scalar space gives the value itself, a simple one the list.
template <typename T>
Attribute scalar_or_list(std::vector<T> values, bool scalar) {
  if (scalar) return std::move(values.front());
  return values;
}

herr_t collect_name(hid_t, const char* name, const H5A_info_t*, void* out) {
  static_cast<std::vector<std::string>*>(out)->emplace_back(name);
  return 0;
}

}  // namespace

void Object::set(const std::string& name, const Attribute& value) {
  const auto lock = enter();
  if (has_attribute(name) && H5Adelete(id(), name.c_str()) < 0) fail("replace attribute " + name);
  const Encoded e = encode(value);
  const Id attribute(
      H5Acreate2(id(), name.c_str(), e.type.get(), e.space.get(), H5P_DEFAULT, H5P_DEFAULT));
  if (attribute.get() < 0) fail("create attribute " + name);
  if (e.data != nullptr && H5Awrite(attribute.get(), e.type.get(), e.data) < 0)
    fail("write attribute " + name);
}

bool Object::has_attribute(const std::string& name) const {
  const auto lock = enter();
  const htri_t found = H5Aexists(id(), name.c_str());
  if (found < 0) fail("look for attribute " + name);
  return found > 0;
}

std::vector<std::string> Object::attribute_names() const {
  const auto lock = enter();
  std::vector<std::string> names;
  hsize_t position = 0;
  if (H5Aiterate2(id(), H5_INDEX_NAME, H5_ITER_NATIVE, &position, &collect_name, &names) < 0)
    fail("list its attributes");
  std::sort(names.begin(), names.end());
  return names;
}

Attribute Object::attribute(const std::string& name) const {
  const auto lock = enter();
  const std::string action = "read attribute " + name;
  if (!has_attribute(name)) {
    throw core::DataError(file_path(), path_ + ": attribute '" + name + "' is missing");
  }
  const Id attribute(H5Aopen(id(), name.c_str(), H5P_DEFAULT));
  if (attribute.get() < 0) fail(action);
  const Id type(H5Aget_type(attribute.get())), space(H5Aget_space(attribute.get()));
  if (type.get() < 0 || space.get() < 0) fail(action);
  const bool scalar = H5Sget_simple_extent_type(space.get()) == H5S_SCALAR;
  const hssize_t points = H5Sget_simple_extent_npoints(space.get());
  if (points < 0) fail(action);
  const auto count = static_cast<std::size_t>(points);
  switch (H5Tget_class(type.get())) {
    case H5T_INTEGER: {
      std::vector<std::int64_t> values(count);
      if (count > 0 && H5Aread(attribute.get(), H5T_NATIVE_INT64, values.data()) < 0) fail(action);
      return scalar_or_list(std::move(values), scalar);
    }
    case H5T_FLOAT: {
      std::vector<double> values(count);
      if (count > 0 && H5Aread(attribute.get(), H5T_NATIVE_DOUBLE, values.data()) < 0) fail(action);
      return scalar_or_list(std::move(values), scalar);
    }
    case H5T_STRING: {
      std::vector<std::string> values;
      if (!read_strings(attribute.get(), type.get(), space.get(), count, values)) fail(action);
      return scalar_or_list(std::move(values), scalar);
    }
    default:
      throw core::DataError(file_path(),
                            path_ + ": attribute '" + name + "' is neither a number nor a string");
  }
}

}  // namespace isaribi::hdf5
