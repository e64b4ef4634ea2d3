// SPDX-License-Identifier: MIT
#include "io/data/dataset_writer.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/error.hpp"
#include "io/data/dataset.hpp"

namespace isaribi::data {

DatasetWriter::DatasetWriter(const std::string& path, const DatasetSpec& spec, bool replace)
    : place_(path, replace),
      path_(path),
      spec_(spec),
      file_(hdf5::File::create(place_.temporary())),
      images_(file_.create_dataset("images", spec.sample.batched(spec.samples), spec.type)) {
  if (!spec.class_names.empty() &&
      static_cast<std::int64_t>(spec.class_names.size()) != spec.classes)
    throw core::UsageError(
        fmt::format("{} class names for {} classes", spec.class_names.size(), spec.classes));
  const auto channels = static_cast<std::size_t>(spec.sample[2]);
  histogram_.resize(channels * 256);
  sum_.resize(channels);
  sum_squares_.resize(channels);
  file_.set("schema", std::string(kDatasetSchema));
  file_.set("version", kDatasetVersion);
  file_.set("creator", spec.creator);
  file_.set("source_format", spec.source_format);
  file_.set("source_files", spec.source_files);
  file_.set("source_checksums", spec.source_checksums);
  file_.set("class_names", spec.class_names);
  if (spec.classes > 0) file_.set("classes", spec.classes);
}

void DatasetWriter::append(const core::Tensor& images, const std::int32_t* labels) {
  const std::int64_t count = images.shape()[0];
  if (images.dtype() != spec_.type || images.shape() != spec_.sample.batched(count) ||
      done_ + count > spec_.samples)
    throw core::InternalError("images that do not fit the data set: " + images.shape().text());
  if (spec_.type == core::DType::f32)
    require_finite(path_, images.data<float>(), images.count(), done_, spec_.sample.count());
  if (spec_.classes > 0) {
    require_labels(path_, labels, count, done_, spec_.classes);
    labels_.insert(labels_.end(), labels, labels + count);
  }
  images_.write_range(done_ * spec_.sample.count(), images, hdf5::Transfer::independent);
  digest_.add(images.raw(), images.bytes());
  count_values(images);
  done_ += count;
}

void DatasetWriter::count_values(const core::Tensor& images) {
  const std::int64_t channels = spec_.sample[2], pixels = images.count() / channels;
  for (std::int64_t p = 0; p < pixels; ++p) {
    for (std::int64_t c = 0; c < channels; ++c) {
      const std::int64_t i = p * channels + c;
      if (spec_.type == core::DType::u8) {
        ++histogram_[static_cast<std::size_t>(c * 256 + images.data<std::uint8_t>()[i])];
      } else {
        const double x = images.data<float>()[i];
        sum_[static_cast<std::size_t>(c)] += x;
        sum_squares_[static_cast<std::size_t>(c)] += x * x;
      }
    }
  }
}

void DatasetWriter::set_source_checksums(const std::vector<std::string>& checksums) {
  file_.set("source_checksums", checksums);
}

void DatasetWriter::write_statistics() {
  const std::size_t channels = sum_.size();
  const double n = static_cast<double>(spec_.samples * spec_.sample[0] * spec_.sample[1]);
  std::vector<double> mean(channels), std(channels);
  for (std::size_t c = 0; c < channels; ++c) {
    for (std::size_t v = 0; v < 256; ++v) {  // all zero for f32
      const double x = static_cast<double>(v) / 255.0,
                   times = static_cast<double>(histogram_[c * 256 + v]);
      sum_[c] += times * x;
      sum_squares_[c] += times * x * x;
    }
    mean[c] = sum_[c] / n;
    std[c] = std::sqrt(std::max(0.0, sum_squares_[c] / n - mean[c] * mean[c]));
  }
  file_.set("mean", mean);
  file_.set("std", std);
}

std::string DatasetWriter::finish() {
  if (done_ != spec_.samples) throw core::InternalError("a data set with missing images");
  write_statistics();
  if (spec_.classes > 0) {
    const core::Tensor labels =
        core::Tensor::borrow(labels_.data(), {spec_.samples}, core::DType::i32);
    file_.create_dataset("labels", {spec_.samples}, core::DType::i32).write(labels);
    digest_.add(labels.raw(), labels.bytes());
  }
  const std::string digest = digest_.hex();
  file_.set("digest", digest);
  file_.close();
  place_.commit();
  return digest;
}

}  // namespace isaribi::data
