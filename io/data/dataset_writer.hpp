// SPDX-License-Identifier: MIT
// Writes a data set file (README.md): images and labels in order, statistics and digest on the way,
// and nothing in place before finish().
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/tensor.hpp"
#include "io/data/digest.hpp"
#include "io/hdf5/atomic.hpp"
#include "io/hdf5/file.hpp"

namespace isaribi::data {

/// What is known of a set before its first image.
struct DatasetSpec {
  std::int64_t samples = 0;
  core::Shape sample;                                       ///< [H, W, C]
  core::DType type = core::DType::u8;                       ///< or f32
  std::int64_t classes = 0;                                 ///< 0: no labels
  std::vector<std::string> class_names;                     ///< empty or one per class
  std::string creator;                                      ///< program and version
  std::string source_format;                                ///< "idx", "cifar10", ...
  std::vector<std::string> source_files, source_checksums;  ///< checksums as "md5:<hex>"
};

class DatasetWriter {
 public:
  /// @throws DataError when `path` exists and `replace` is false, or cannot be written.
  DatasetWriter(const std::string& path, const DatasetSpec& spec, bool replace);
  /// The next images [n, H, W, C], and their n labels unless the set has none.
  /// @throws DataError: disk full, label out of range, f32 value not finite.
  void append(const core::Tensor& images, const std::int32_t* labels);
  /// For sources whose checksum is known only once they are read.
  void set_source_checksums(const std::vector<std::string>& checksums);
  /// Completes the file and puts it in its place. Returns its digest.
  std::string finish();

 private:
  void count_values(const core::Tensor& images);
  void write_statistics();

  hdf5::AtomicFile place_;
  std::string path_;
  DatasetSpec spec_;
  hdf5::File file_;
  hdf5::Dataset images_;
  std::int64_t done_ = 0;
  Digest digest_;
  std::vector<std::int32_t> labels_;
  std::vector<std::int64_t> histogram_;    ///< u8: [C, 256], so that the statistics are exact
  std::vector<double> sum_, sum_squares_;  ///< f32: [C]
};

}  // namespace isaribi::data
