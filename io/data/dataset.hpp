// SPDX-License-Identifier: MIT
// The schema of a data set file (README.md) as code: opening one and checking that it is what it
// says.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "io/data/loader.hpp"
#include "io/hdf5/file.hpp"

namespace isaribi::data {

inline constexpr const char* kDatasetSchema = "isaribi-dataset";
inline constexpr std::int64_t kDatasetVersion = 1;

/// An open data set whose header is in order.
struct DatasetFile {
  hdf5::File file;
  DatasetInfo info;

  /// @throws DataError: missing, not HDF5, not ours, newer schema, damaged.
  static DatasetFile open(const std::string& path);

  bool has_labels() const { return info.classes > 0; }
  std::int64_t sample_bytes() const;
  /// Images [begin, begin + count) into `out`, count * sample_bytes() bytes. @throws DataError,
  /// also when f32 values are not finite.
  void read_images(std::int64_t begin, std::int64_t count, std::byte* out) const;
  /// Labels [begin, begin + count) into `out`. @throws DataError, also when one is out of range.
  void read_labels(std::int64_t begin, std::int64_t count, std::int32_t* out) const;
};

/// The digest of images and labels as they stand in the file now: equal to DatasetInfo::digest of a
/// sound file.
std::string computed_digest(const DatasetFile& dataset);

/// @throws DataError naming the first value of `count` f32 values that is not finite; `begin` is
/// the first sample, of `per_sample` values.
void require_finite(const std::string& path, const float* values, std::int64_t count,
                    std::int64_t begin, std::int64_t per_sample);
/// @throws DataError naming the first label outside of 0 ... classes-1.
void require_labels(const std::string& path, const std::int32_t* labels, std::int64_t count,
                    std::int64_t begin, std::int64_t classes);

}  // namespace isaribi::data
