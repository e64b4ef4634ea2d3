// SPDX-License-Identifier: MIT
// A folder per class with PNG images in it.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <filesystem>

#include "core/error.hpp"
#include "io/convert/convert.hpp"
#include "io/convert/png_image.hpp"
#include "io/data/dataset_writer.hpp"

namespace isaribi::convert {
namespace {

namespace fs = std::filesystem;

struct Sample {
  std::string path;
  std::int32_t label;
};

bool is_png(const fs::path& path) {
  std::string ending = path.extension().string();
  std::transform(ending.begin(), ending.end(), ending.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return ending == ".png";
}

/// Visible entries of `folder` in byte order of their names, whatever the locale.
std::vector<fs::path> sorted_entries(const std::string& folder) {
  std::error_code error;
  std::vector<fs::path> entries;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    if (it->path().filename().string().front() != '.') entries.push_back(it->path());
  }
  if (error) throw core::DataError(folder, "cannot list it: " + error.message());
  std::sort(entries.begin(), entries.end());
  return entries;
}

std::vector<Sample> list_samples(const std::string& folder, std::vector<std::string>& names) {
  std::vector<Sample> samples;
  for (const fs::path& entry : sorted_entries(folder)) {
    if (!fs::is_directory(entry)) continue;
    const auto label = static_cast<std::int32_t>(names.size());
    const std::size_t before = samples.size();
    for (const fs::path& file : sorted_entries(entry.string())) {
      if (is_png(file)) samples.push_back({file.string(), label});
    }
    if (samples.size() == before)
      throw core::DataError(entry.string(), "this class folder holds no PNG image",
                            "remove it, or put images in");
    names.push_back(entry.filename().string());
  }
  if (samples.empty())
    throw core::DataError(folder, "it holds no class folders with PNG images",
                          "wanted is FOLDER/CLASS/IMAGE.png");
  return samples;
}

/// One checksum for all sources: MD5 over relative names and pixels.
class SourceDigest {
 public:
  void add(const std::string& name, const PngImage& image) {
    digest_.add(name.data(), name.size() + 1);
    digest_.add(image.pixels.data(), image.pixels.size());
  }
  std::string text() { return "md5:" + digest_.hex(); }

 private:
  data::Digest digest_{data::Digest::Kind::md5};
};

void require_same_shape(const Sample& sample, const core::Shape& shape, const Sample& first,
                        const core::Shape& wanted) {
  if (shape == wanted) return;
  throw core::DataError(
      sample.path,
      fmt::format("the image is {} x {} with {} channels, {} is {} x {} with {}", shape[0],
                  shape[1], shape[2], first.path, wanted[0], wanted[1], wanted[2]),
      "bring all images to one size and one kind of colour first");
}

}  // namespace

Summary convert_png_folders(const std::string& folder, const std::string& out,
                            const Options& options) {
  data::DatasetSpec spec;
  const std::vector<Sample> samples = list_samples(folder, spec.class_names);
  if (!options.class_names.empty()) {
    if (options.class_names.size() != spec.class_names.size())
      throw core::UsageError(fmt::format("{} class names for {} class folders",
                                         options.class_names.size(), spec.class_names.size()));
    spec.class_names = options.class_names;
  }
  // All headers before anything is written: a stray image in the last class shows at once.
  SourceDigest sources;
  spec.sample = read_png_shape(samples.front().path);
  for (const Sample& sample : samples)
    require_same_shape(sample, read_png_shape(sample.path), samples.front(), spec.sample);
  spec.samples = static_cast<std::int64_t>(samples.size());
  spec.classes = static_cast<std::int64_t>(spec.class_names.size());
  spec.creator = options.creator;
  spec.source_format = "png";
  spec.source_files = {fs::absolute(folder).lexically_normal().filename().string()};
  data::DatasetWriter writer(out, spec, options.replace);
  std::int64_t done = 0;
  for (const Sample& sample : samples) {
    const PngImage image = read_png(sample.path);
    require_same_shape(sample, image.shape, samples.front(), spec.sample);
    sources.add(fs::relative(sample.path, folder).string(), image);
    const core::Tensor row(spec.sample.batched(1), core::DType::u8);
    std::memcpy(row.raw(), image.pixels.data(), image.pixels.size());
    writer.append(row, &sample.label);
    if (options.progress && (++done % 256 == 0 || done == spec.samples))
      options.progress(done, spec.samples);
  }
  spec.source_checksums = {sources.text()};
  writer.set_source_checksums(spec.source_checksums);
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
