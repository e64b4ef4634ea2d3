// SPDX-License-Identifier: MIT
// Converters: raw data as others publish it becomes one HDF5 file in our schema
// (io/data/README.md). The source is checked before and while it is read; the result appears whole
// or not at all.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/shape.hpp"

namespace isaribi::convert {

struct Options {
  bool replace = false;  ///< whether an existing output file may be replaced
  /// Class names, one per class; empty: what the source or its checksum tells, else none.
  std::vector<std::string> class_names;
  /// MD5 that the uncompressed images of an IDX source must have; empty: any.
  std::string expected_md5;
  std::string creator = "isaribi";  ///< program and version, noted in the file
  /// Told now and then how many of how many samples are done.
  std::function<void(std::int64_t done, std::int64_t total)> progress;
};

/// What was written.
struct Summary {
  std::string path;
  std::int64_t samples = 0;
  core::Shape sample;  ///< [H, W, C]
  std::int64_t classes = 0;
  std::vector<std::string> class_names;
  std::vector<std::string> source_files, source_checksums;  ///< "md5:<hex>", uncompressed
  std::string recognised;  ///< "Fashion-MNIST, training images" where the checksum is known
  std::string digest;      ///< SHA-256 of the images and labels written
};

/// The MNIST format, plain or gzip. `labels` may be empty: a set without labels.
struct IdxSources {
  std::string images, labels;
};

/// The files of one part of an MNIST-like folder under their usual names, with or without .gz.
/// @param part "train" or "test". @throws UsageError for another part, DataError when one is
/// missing.
IdxSources find_idx(const std::string& folder, const std::string& part);

/// Images [N, H, W] or [N, H, W, C], u8 or f32; labels u8 or i32.
/// @throws DataError: wrong magic, sizes that do not fit the file, counts that do not agree.
Summary convert_idx(const IdxSources& sources, const std::string& out, const Options& options);

enum class Cifar { cifar10, cifar100 };
/// The folder of an extracted binary archive ("cifar-10-batches-bin", "cifar-100-binary"); of
/// CIFAR-100 the fine labels. @param part "train" or "test".
Summary convert_cifar(Cifar kind, const std::string& folder, const std::string& part,
                      const std::string& out, const Options& options);

/// One folder per class, its name the class name, classes in sorted order; PNG images of one size
/// and channel count.
Summary convert_png_folders(const std::string& folder, const std::string& out,
                            const Options& options);

/// Class names of a known set: "mnist", "fashion-mnist", "cifar10". @throws UsageError.
std::vector<std::string> class_names_of(const std::string& preset);

}  // namespace isaribi::convert
