// SPDX-License-Identifier: MIT
// Element types: core::DType <-> HDF5.
#include <bit>

#include "core/error.hpp"
#include "io/hdf5/call.hpp"

namespace isaribi::hdf5 {
namespace {

static_assert(std::endian::native == std::endian::little, "our files and memory share one order");

/// IEEE 754 binary16: 1 sign, 5 exponent and 10 fraction bits, bias 15 (what h5py calls float16).
hid_t make_half() {
  const hid_t type = H5Tcopy(H5T_IEEE_F32LE);
  if (type < 0 || H5Tset_fields(type, 15, 10, 5, 0, 10) < 0 || H5Tset_size(type, 2) < 0 ||
      H5Tset_ebias(type, 15) < 0) {
    throw core::InternalError("HDF5 cannot make a 16-bit float type");
  }
  return type;
}

}  // namespace

Id make_type(core::DType type) {
  switch (type) {
    case core::DType::f64:
      return Id(H5Tcopy(H5T_IEEE_F64LE));
    case core::DType::f32:
      return Id(H5Tcopy(H5T_IEEE_F32LE));
    case core::DType::f16:
      return Id(make_half());
    case core::DType::bf16:
      return Id(H5Tcopy(H5T_STD_U16LE));
    case core::DType::i8:
      return Id(H5Tcopy(H5T_STD_I8LE));
    case core::DType::u8:
      return Id(H5Tcopy(H5T_STD_U8LE));
    case core::DType::i32:
      return Id(H5Tcopy(H5T_STD_I32LE));
  }
  throw core::InternalError("unknown element type");
}

}  // namespace isaribi::hdf5
