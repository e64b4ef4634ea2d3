// SPDX-License-Identifier: MIT
// The IDX format of MNIST: two zero bytes, a type code, the number of dimensions, that many
// big-endian 32-bit extents, then the values, big-endian, last index fastest.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <filesystem>
#include <numeric>

#include "core/error.hpp"
#include "io/convert/byte_source.hpp"
#include "io/convert/convert.hpp"
#include "io/convert/known.hpp"
#include "io/data/dataset_writer.hpp"

namespace isaribi::convert {
namespace {

constexpr std::int64_t kStep = 4096;  ///< samples per piece

struct Header {
  core::DType type = core::DType::u8;
  std::vector<std::int64_t> extents;
};

std::uint32_t big_endian(const unsigned char* b) {
  return std::uint32_t{b[0]} << 24 | std::uint32_t{b[1]} << 16 | std::uint32_t{b[2]} << 8 | b[3];
}

core::DType type_of(unsigned char code, const std::string& path) {
  switch (code) {
    case 0x08:
      return core::DType::u8;
    case 0x0C:
      return core::DType::i32;
    case 0x0D:
      return core::DType::f32;
    default:
      throw core::DataError(path, fmt::format("IDX with values of type 0x{:02x}; known here are "
                                              "0x08 (u8), 0x0c (i32) and 0x0d (f32)",
                                              code));
  }
}

/// Reads the header and checks that the file can be as large as it says.
Header read_header(ByteSource& source) {
  std::array<unsigned char, 4> magic{};
  source.read(magic.data(), magic.size(), "the IDX header");
  if (magic[0] != 0 || magic[1] != 0 || magic[3] == 0 || magic[3] > 4) {
    throw core::DataError(source.path(),
                          fmt::format("not an IDX file: its first bytes are {:02x}{:02x}{:02x}"
                                      "{:02x}, MNIST images begin with 00000803 and labels with "
                                      "00000801",
                                      magic[0], magic[1], magic[2], magic[3]),
                          "name the files as train-images-idx3-ubyte[.gz] and "
                          "train-labels-idx1-ubyte[.gz]");
  }
  Header header;
  header.type = type_of(magic[2], source.path());
  double bytes = static_cast<double>(core::size_of(header.type));
  for (int i = 0; i < magic[3]; ++i) {
    std::array<unsigned char, 4> extent{};
    source.read(extent.data(), extent.size(), "the IDX header");
    header.extents.push_back(big_endian(extent.data()));
    bytes *= static_cast<double>(header.extents.back());
  }
  if (bytes > static_cast<double>(source.most_bytes())) {
    throw core::DataError(source.path(),
                          fmt::format("truncated: its header announces {:.0f} bytes of values, the "
                                      "file has room for {}",
                                      bytes, source.most_bytes()),
                          "fetch the file again and compare its checksum");
  }
  return header;
}

void to_native(void* values, std::int64_t count) {
  auto* bytes = static_cast<unsigned char*>(values);
  for (std::int64_t i = 0; i < count; ++i, bytes += 4) {
    const std::uint32_t value = big_endian(bytes);
    std::memcpy(bytes, &value, sizeof value);
  }
}

std::vector<std::int32_t> read_labels(ByteSource& source, std::int64_t samples) {
  const Header header = read_header(source);
  if (header.extents.size() != 1 || header.type == core::DType::f32)
    throw core::DataError(source.path(),
                          fmt::format("not a file of labels: it has {} dimensions of {}",
                                      header.extents.size(), core::name_of(header.type)),
                          "images and labels may be swapped");
  if (header.extents[0] != samples)
    throw core::DataError(source.path(),
                          fmt::format("{} labels for {} images", header.extents[0], samples),
                          "images and labels must be of the same part, both train or both test");
  std::vector<std::int32_t> labels(static_cast<std::size_t>(samples));
  if (header.type == core::DType::i32) {
    source.read(labels.data(), labels.size() * 4, "the labels");
    to_native(labels.data(), samples);
  } else {
    std::vector<std::uint8_t> bytes(labels.size());
    source.read(bytes.data(), bytes.size(), "the labels");
    std::copy(bytes.begin(), bytes.end(), labels.begin());
  }
  source.expect_end();
  return labels;
}

/// [H, W, C] of an image file. @throws DataError when it holds no images.
core::Shape sample_shape(const Header& header, const std::string& path) {
  const auto& e = header.extents;
  if (e.size() < 3 || header.type == core::DType::i32)
    throw core::DataError(path,
                          fmt::format("not a file of images: it has {} dimensions of {}", e.size(),
                                      core::name_of(header.type)),
                          "images and labels may be swapped");
  if (std::find(e.begin(), e.end(), 0) != e.end())
    throw core::DataError(path, "it holds no images");
  return {e[1], e[2], e.size() == 4 ? e[3] : 1};
}

/// First pass over the images: size and checksum, before anything is written.
std::string verify_images(const std::string& path) {
  ByteSource source(path);
  const Header header = read_header(source);
  std::int64_t left =
      std::accumulate(header.extents.begin(), header.extents.end(),
                      static_cast<std::int64_t>(core::size_of(header.type)), std::multiplies<>());
  std::vector<char> buffer(1 << 20);
  while (left > 0) {
    const auto now = std::min<std::int64_t>(left, static_cast<std::int64_t>(buffer.size()));
    source.read(buffer.data(), static_cast<std::size_t>(now), "the images");
    left -= now;
  }
  source.expect_end();
  return source.checksum();
}

std::string file_name(const std::string& path) {
  return std::filesystem::path(path).filename().string();
}

/// Labels of another set or part often have the right count, so only their checksum tells.
void require_partners(const IdxSources& sources, const std::optional<KnownFile>& images,
                      const std::optional<KnownFile>& labels) {
  if (!images || !labels || images->title == labels->title) return;
  throw core::DataError(
      sources.labels,
      "these are the labels of " + labels->title + ", the images are of " + images->title,
      "name labels and images of the same set and part");
}

void copy_images(ByteSource& source, const data::DatasetSpec& spec,
                 const std::vector<std::int32_t>& labels, const Options& options,
                 data::DatasetWriter& writer) {
  for (std::int64_t i = 0; i < spec.samples; i += kStep) {
    const std::int64_t count = std::min(kStep, spec.samples - i);
    const core::Tensor images(spec.sample.batched(count), spec.type);
    source.read(images.raw(), images.bytes(), "the images");
    if (spec.type == core::DType::f32) to_native(images.raw(), images.count());
    writer.append(images, labels.empty() ? nullptr : labels.data() + i);
    if (options.progress) options.progress(i + count, spec.samples);
  }
}

}  // namespace

IdxSources find_idx(const std::string& folder, const std::string& part) {
  if (part != "train" && part != "test")
    throw core::UsageError("part \"" + part + "\" of a data set", "choose train or test");
  const auto find = [&](const std::string& name) {
    for (const char* ending : {"", ".gz"}) {
      const std::string path = (std::filesystem::path(folder) / (name + ending)).string();
      if (std::filesystem::exists(path)) return path;
    }
    throw core::DataError(folder, "it has no " + name + "[.gz]",
                          "name the files with --images and --labels");
  };
  const std::string stem = part == "train" ? "train" : "t10k";
  return {find(stem + "-images-idx3-ubyte"), find(stem + "-labels-idx1-ubyte")};
}

Summary convert_idx(const IdxSources& sources, const std::string& out, const Options& options) {
  const std::string checksum = verify_images(sources.images);
  if (!options.expected_md5.empty() && checksum != "md5:" + options.expected_md5)
    throw core::DataError(
        sources.images, "its checksum is " + checksum + ", expected is md5:" + options.expected_md5,
        "fetch the file again");
  const auto known = recognise(checksum);
  ByteSource images(sources.images);
  const Header header = read_header(images);
  data::DatasetSpec spec;
  spec.samples = header.extents[0];
  spec.sample = sample_shape(header, sources.images);
  spec.type = header.type;
  spec.creator = options.creator;
  spec.source_format = "idx";
  spec.source_files = {file_name(sources.images)};
  spec.source_checksums = {checksum};
  std::vector<std::int32_t> labels;
  if (!sources.labels.empty()) {
    ByteSource source(sources.labels);
    labels = read_labels(source, spec.samples);
    spec.source_files.push_back(file_name(sources.labels));
    spec.source_checksums.push_back(source.checksum());
    require_partners(sources, known, recognise(spec.source_checksums.back()));
    spec.class_names = options.class_names;
    if (spec.class_names.empty() && known) spec.class_names = class_names_of(known->names);
    spec.classes = spec.class_names.empty()
                       ? std::max(0, *std::max_element(labels.begin(), labels.end())) + 1
                       : static_cast<std::int64_t>(spec.class_names.size());
  }
  data::DatasetWriter writer(out, spec, options.replace);
  copy_images(images, spec, labels, options, writer);
  const std::string digest = writer.finish();
  return {out,
          spec.samples,
          spec.sample,
          spec.classes,
          spec.class_names,
          spec.source_files,
          spec.source_checksums,
          known ? known->title : "",
          digest};
}

}  // namespace isaribi::convert
