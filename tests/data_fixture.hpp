// SPDX-License-Identifier: MIT
// Small data sets made of formulas, for tests.
#pragma once

#include <string>

#include "io/data/dataset.hpp"
#include "io/data/dataset_writer.hpp"

/// Element `e` of image `id`.
inline int fixture_byte(std::int64_t id, std::int64_t e) {
  return static_cast<int>((id * 31 + e * 7 + (id * e) % 13) % 256);
}
inline float fixture_float(std::int64_t id, std::int64_t e) {
  return static_cast<float>(fixture_byte(id, e)) / 64.0f - 1.0f;
}
inline std::int32_t fixture_label(std::int64_t id) {
  return static_cast<std::int32_t>((id * 7) % 10);
}

/// Writes a set of ten classes.
inline void write_dataset(const std::string& path, std::int64_t samples,
                          const isaribi::core::Shape& sample,
                          isaribi::core::DType type = isaribi::core::DType::u8) {
  using namespace isaribi;
  data::DatasetSpec spec;
  spec.samples = samples;
  spec.sample = sample;
  spec.type = type;
  spec.classes = 10;
  spec.creator = "test";
  data::DatasetWriter writer(path, spec, true);
  for (std::int64_t id = 0; id < samples; ++id) {
    const core::Tensor image(sample.batched(1), type);
    for (std::int64_t e = 0; e < sample.count(); ++e) {
      if (type == core::DType::u8) {
        image.data<std::uint8_t>()[e] = static_cast<std::uint8_t>(fixture_byte(id, e));
      } else {
        image.data<float>()[e] = fixture_float(id, e);
      }
    }
    const std::int32_t label = fixture_label(id);
    writer.append(image, &label);
  }
  writer.finish();
}

/// Damages one value of `dataset`: the file is written anew with it.
template <typename T>
void overwrite(const std::string& path, const std::string& dataset, std::int64_t index, T value) {
  using namespace isaribi;
  const data::DatasetFile old = data::DatasetFile::open(path);
  hdf5::File file = hdf5::File::create(path + ".new");
  for (const std::string& name : old.file.attribute_names())
    file.set(name, old.file.attribute(name));
  for (const std::string& name : old.file.children()) {
    core::Tensor values = old.file.dataset(name).read();
    if (name == dataset) values.template data<T>()[index] = value;
    file.create_dataset(name, values.shape(), values.dtype()).write(values);
  }
  file.close();
  hdf5::replace_file(path + ".new", path);
}
