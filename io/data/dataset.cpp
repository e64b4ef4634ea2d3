// SPDX-License-Identifier: MIT
#include "io/data/dataset.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "core/error.hpp"
#include "io/data/digest.hpp"

namespace isaribi::data {
namespace {

constexpr const char* kNotOurs =
    "convert raw data with `isaribi convert`; its --help lists the formats";

void require_schema(const hdf5::File& file) {
  const std::string& path = file.file_path();
  if (!file.has_attribute("schema")) {
    throw core::DataError(path, "an HDF5 file, but not a data set of isaribi (no schema)",
                          kNotOurs);
  }
  const auto schema = file.attribute_as<std::string>("schema");
  if (schema != kDatasetSchema) {
    throw core::DataError(
        path, fmt::format("its schema is '{}', a data set has '{}'", schema, kDatasetSchema),
        kNotOurs);
  }
  const auto version = file.attribute_as<std::int64_t>("version");
  if (version > kDatasetVersion) {
    throw core::DataError(path,
                          fmt::format("its schema version {} is newer than the {} known here",
                                      version, kDatasetVersion),
                          "use a newer isaribi, or convert the data again with this one");
  }
  if (version < 1) throw core::DataError(path, fmt::format("schema version {} is none", version));
}

[[noreturn]] void damaged(const std::string& path, const std::string& what) {
  throw core::DataError(path, what, "the file is damaged: convert the data again");
}

DatasetInfo header_of(const hdf5::File& file) {
  DatasetInfo info;
  info.path = file.file_path();
  const hdf5::Dataset images = file.dataset("images");
  const core::Shape& shape = images.shape();
  if (shape.rank() != 4)
    damaged(info.path, "images have shape " + shape.text() + ", wanted is [N, H, W, C]");
  info.samples = shape[0];
  info.sample = {shape[1], shape[2], shape[3]};
  info.type = images.dtype();
  if (info.samples < 1 || info.sample.count() < 1) damaged(info.path, "it holds no images");
  if (info.samples > std::numeric_limits<std::int32_t>::max())
    damaged(info.path, "it holds more than 2^31 images");
  if (info.type != core::DType::u8 && info.type != core::DType::f32)
    damaged(info.path, fmt::format("images are {}, wanted is u8 or f32", name_of(info.type)));
  info.mean = file.attribute_as<std::vector<double>>("mean");
  info.std = file.attribute_as<std::vector<double>>("std");
  const auto channels = static_cast<std::size_t>(shape[3]);
  if (info.mean.size() != channels || info.std.size() != channels)
    damaged(info.path, fmt::format("mean and std are not of {} channels", channels));
  for (std::size_t c = 0; c < channels; ++c) {
    if (!std::isfinite(info.mean[c]) || !std::isfinite(info.std[c]) || info.std[c] < 0)
      damaged(info.path, fmt::format("mean or std of channel {} is no number", c));
  }
  info.digest = file.attribute_as<std::string>("digest");
  info.class_names = file.attribute_as<std::vector<std::string>>("class_names");
  if (!file.has("labels")) return info;
  info.classes = file.attribute_as<std::int64_t>("classes");
  const hdf5::Dataset labels = file.dataset("labels");
  if (labels.dtype() != core::DType::i32 || labels.shape() != core::Shape{info.samples})
    damaged(info.path, "labels are not i32 [N]");
  if (info.classes < 1) damaged(info.path, "it has labels but no classes");
  if (!info.class_names.empty() &&
      static_cast<std::int64_t>(info.class_names.size()) != info.classes)
    damaged(info.path,
            fmt::format("{} class names for {} classes", info.class_names.size(), info.classes));
  return info;
}

}  // namespace

DatasetFile DatasetFile::open(const std::string& path) {
  hdf5::File file = hdf5::File::open(path);
  require_schema(file);
  DatasetInfo info = header_of(file);
  return {std::move(file), std::move(info)};
}

std::int64_t DatasetFile::sample_bytes() const {
  return info.sample.count() * static_cast<std::int64_t>(core::size_of(info.type));
}

void DatasetFile::read_images(std::int64_t begin, std::int64_t count, std::byte* out) const {
  core::Tensor rows = core::Tensor::borrow(out, info.sample.batched(count), info.type);
  file.dataset("images").read_rows(begin, rows);
  if (info.type == core::DType::f32)
    require_finite(info.path, rows.data<float>(), rows.count(), begin, info.sample.count());
}

void DatasetFile::read_labels(std::int64_t begin, std::int64_t count, std::int32_t* out) const {
  core::Tensor rows = core::Tensor::borrow(out, {count}, core::DType::i32);
  file.dataset("labels").read_rows(begin, rows);
  require_labels(info.path, out, count, begin, info.classes);
}

DatasetInfo read_info(const std::string& path) {
  return DatasetFile::open(path).info;
}

std::string computed_digest(const DatasetFile& dataset) {
  Digest digest;
  const std::int64_t step = std::max<std::int64_t>(1, (16 << 20) / dataset.sample_bytes());
  std::vector<std::byte> bytes(static_cast<std::size_t>(step * dataset.sample_bytes()));
  for (std::int64_t i = 0; i < dataset.info.samples; i += step) {
    const std::int64_t count = std::min(step, dataset.info.samples - i);
    dataset.read_images(i, count, bytes.data());
    digest.add(bytes.data(), static_cast<std::size_t>(count * dataset.sample_bytes()));
  }
  if (dataset.has_labels()) {
    std::vector<std::int32_t> labels(static_cast<std::size_t>(dataset.info.samples));
    dataset.read_labels(0, dataset.info.samples, labels.data());
    digest.add(labels.data(), labels.size() * sizeof(std::int32_t));
  }
  return digest.hex();
}

void require_finite(const std::string& path, const float* values, std::int64_t count,
                    std::int64_t begin, std::int64_t per_sample) {
  for (std::int64_t i = 0; i < count; ++i) {
    if (std::isfinite(values[i])) continue;
    throw core::DataError(path,
                          fmt::format("image {} holds {} at element {}", begin + i / per_sample,
                                      values[i], i % per_sample),
                          "training cannot digest it: repair the source and convert it again");
  }
}

void require_labels(const std::string& path, const std::int32_t* labels, std::int64_t count,
                    std::int64_t begin, std::int64_t classes) {
  for (std::int64_t i = 0; i < count; ++i) {
    if (labels[i] >= 0 && labels[i] < classes) continue;
    throw core::DataError(path,
                          fmt::format("label {} of sample {} is outside of 0 ... {}", labels[i],
                                      begin + i, classes - 1),
                          "the labels belong to another set, or the file is damaged");
  }
}

}  // namespace isaribi::data
