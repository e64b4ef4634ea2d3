// SPDX-License-Identifier: MIT
// The binary form of CIFAR-10 (one label byte) and CIFAR-100 (coarse and fine label), each followed
// by 32 x 32 pixels plane by plane: red, green, blue.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "core/error.hpp"
#include "io/convert/byte_source.hpp"
#include "io/convert/convert.hpp"
#include "io/data/dataset_writer.hpp"

namespace isaribi::convert {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kSide = 32, kPlane = kSide * kSide, kPixels = 3 * kPlane;
constexpr std::int64_t kStep = 1000;  ///< samples per piece

/// One kind of CIFAR on the disk.
struct Layout {
  std::string format, names_file;
  std::int64_t label_bytes = 1;  ///< the last of them is the label
  std::int64_t classes = 10;
  std::vector<std::string> files;

  std::int64_t record() const { return label_bytes + kPixels; }
};

Layout layout_of(Cifar kind, const std::string& part) {
  if (part != "train" && part != "test")
    throw core::UsageError("part \"" + part + "\" of a data set", "choose train or test");
  const bool train = part == "train";
  if (kind == Cifar::cifar100)
    return {"cifar100", "fine_label_names.txt", 2, 100, {train ? "train.bin" : "test.bin"}};
  Layout layout{"cifar10", "batches.meta.txt", 1, 10, {}};
  if (!train) layout.files = {"test_batch.bin"};
  for (int i = 1; train && i <= 5; ++i) layout.files.push_back(fmt::format("data_batch_{}.bin", i));
  return layout;
}

/// Samples in one file. @throws DataError when its size is not a whole number of records.
std::int64_t samples_in(const std::string& path, const Layout& layout) {
  std::error_code error;
  const auto bytes = static_cast<std::int64_t>(fs::file_size(path, error));
  if (error)
    throw core::DataError(path, "cannot open: " + error.message(),
                          "name the folder of the extracted binary version");
  if (bytes == 0 || bytes % layout.record() != 0)
    throw core::DataError(path,
                          fmt::format("its {} bytes are no whole number of {}-byte records, which "
                                      "{} has",
                                      bytes, layout.record(), layout.format),
                          "the file is cut short, or of the Python version: fetch the binary one");
  return bytes / layout.record();
}

/// The names beside the data, one a line; none when the file is missing.
std::vector<std::string> read_names(const std::string& path, std::int64_t classes) {
  std::vector<std::string> names;
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);) {
    while (!line.empty() && (line.back() == '\r' || line.back() == ' ')) line.pop_back();
    if (!line.empty()) names.push_back(line);
  }
  if (!names.empty() && static_cast<std::int64_t>(names.size()) != classes)
    throw core::DataError(path, fmt::format("{} names for {} classes", names.size(), classes));
  return names;
}

/// Records to [n, 32, 32, 3] and labels.
void unpack(const std::vector<std::uint8_t>& records, const Layout& layout, std::int64_t count,
            std::uint8_t* images, std::int32_t* labels) {
  for (std::int64_t i = 0; i < count; ++i) {
    const std::uint8_t* record = records.data() + i * layout.record();
    labels[i] = record[layout.label_bytes - 1];
    const std::uint8_t* planes = record + layout.label_bytes;
    std::uint8_t* image = images + i * kPixels;
    for (std::int64_t p = 0; p < kPlane; ++p) {
      for (std::int64_t c = 0; c < 3; ++c) image[p * 3 + c] = planes[c * kPlane + p];
    }
  }
}

std::string checksum_of(const std::string& path) {
  ByteSource source(path);
  std::vector<char> buffer(1 << 20);
  while (source.read_some(buffer.data(), buffer.size()) > 0) {
  }
  return source.checksum();
}

void copy_file(const std::string& path, const Layout& layout, std::int64_t samples,
               data::DatasetWriter& writer, const std::function<void(std::int64_t)>& done) {
  ByteSource source(path);
  std::vector<std::uint8_t> records(static_cast<std::size_t>(kStep * layout.record()));
  std::vector<std::int32_t> labels(kStep);
  for (std::int64_t i = 0; i < samples; i += kStep) {
    const std::int64_t count = std::min(kStep, samples - i);
    source.read(records.data(), static_cast<std::size_t>(count * layout.record()), "the records");
    const core::Tensor images({count, kSide, kSide, 3}, core::DType::u8);
    unpack(records, layout, count, images.data<std::uint8_t>(), labels.data());
    writer.append(images, labels.data());
    done(count);
  }
}

}  // namespace

Summary convert_cifar(Cifar kind, const std::string& folder, const std::string& part,
                      const std::string& out, const Options& options) {
  const Layout layout = layout_of(kind, part);
  data::DatasetSpec spec;
  std::vector<std::int64_t> counts;
  const auto path_of = [&](const std::string& name) { return (fs::path(folder) / name).string(); };
  for (const std::string& name : layout.files) {
    counts.push_back(samples_in(path_of(name), layout));
    spec.samples += counts.back();
    spec.source_files.push_back(name);
    spec.source_checksums.push_back(checksum_of(path_of(name)));
  }
  spec.sample = {kSide, kSide, 3};
  spec.classes = layout.classes;
  spec.class_names = options.class_names.empty()
                         ? read_names(path_of(layout.names_file), layout.classes)
                         : options.class_names;
  if (spec.class_names.empty() && kind == Cifar::cifar10)
    spec.class_names = class_names_of("cifar10");
  spec.creator = options.creator;
  spec.source_format = layout.format;
  data::DatasetWriter writer(out, spec, options.replace);
  std::int64_t total = 0;
  for (std::size_t f = 0; f < layout.files.size(); ++f) {
    copy_file(path_of(layout.files[f]), layout, counts[f], writer, [&](std::int64_t count) {
      total += count;
      if (options.progress) options.progress(total, spec.samples);
    });
  }
  const std::string digest = writer.finish();
  return {out,
          spec.samples,
          spec.sample,
          spec.classes,
          spec.class_names,
          spec.source_files,
          spec.source_checksums,
          "",
          digest};
}

}  // namespace isaribi::convert
