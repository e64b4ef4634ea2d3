// SPDX-License-Identifier: MIT
#include "io/data/source.hpp"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <optional>

#include "comm/agreement.hpp"
#include "comm/rank_slice.hpp"

namespace isaribi::data {
namespace {

/// Reading takes the process-wide HDF5 lock for each piece; the main thread may want it in between.
constexpr std::int64_t kPieceBytes = 16 << 20;
/// A gap of unwanted samples up to this size is read over rather than skipped.
constexpr std::int64_t kGapBytes = 64 << 10;

void read_part(const DatasetFile& dataset, std::int64_t begin, std::int64_t end, std::byte* images,
               std::int32_t* labels) {
  const std::int64_t bytes = dataset.sample_bytes();
  const std::int64_t step = std::max<std::int64_t>(1, kPieceBytes / bytes);
  for (std::int64_t i = begin; i < end; i += step) {
    dataset.read_images(i, std::min(step, end - i), images + i * bytes);
  }
  if (labels != nullptr) dataset.read_labels(begin, end - begin, labels + begin);
}

class MemorySource final : public SampleSource {
 public:
  MemorySource(const DatasetFile& dataset, comm::Communicator& comm, core::Log& log)
      : bytes_(dataset.sample_bytes()), node_(comm.split_node()) {
    const std::int64_t samples = dataset.info.samples;
    const std::int64_t image_bytes = (samples * bytes_ + 63) / 64 * 64;
    const std::int64_t label_bytes =
        dataset.has_labels() ? samples * static_cast<std::int64_t>(sizeof(std::int32_t)) : 0;
    std::byte* memory = allocate(image_bytes + label_bytes, log);
    auto* labels =
        label_bytes > 0 ? reinterpret_cast<std::int32_t*>(memory + image_bytes) : nullptr;
    const auto [begin, end] = window_ ? comm::rank_slice(samples, node_->rank(), node_->size())
                                      : std::pair<std::int64_t, std::int64_t>(0, samples);
    comm::run_together(
        comm, [&, first = begin, last = end] { read_part(dataset, first, last, memory, labels); });
    if (window_) window_->fence();
    images_ = memory;
    labels_ = labels;
  }

  void load(std::span<const std::int64_t> ids) override { ids_.assign(ids.begin(), ids.end()); }
  const std::byte* image(std::size_t k) const override { return images_ + ids_[k] * bytes_; }
  const std::int32_t* labels() const override { return labels_; }

 private:
  std::byte* allocate(std::int64_t bytes, core::Log& log) {
    if (node_->size() > 1) {
      try {
        window_ = node_->make_shared_window(static_cast<std::size_t>(bytes));
        return window_->data();
      } catch (const core::CommError& error) {
        log.warn_once("every rank holds a copy of the data set of its own: {}", error.what());
      }
    }
    own_ = core::Tensor({bytes}, core::DType::u8);
    return static_cast<std::byte*>(own_.raw());
  }

  std::int64_t bytes_;
  std::unique_ptr<comm::Communicator> node_;
  std::unique_ptr<comm::SharedWindow> window_;
  core::Tensor own_;
  const std::byte* images_ = nullptr;
  const std::int32_t* labels_ = nullptr;
  std::vector<std::int64_t> ids_;
};

class FileSource final : public SampleSource {
 public:
  FileSource(DatasetFile dataset, comm::Communicator& comm)
      : dataset_(std::move(dataset)), bytes_(dataset_.sample_bytes()) {
    if (dataset_.has_labels()) labels_.resize(static_cast<std::size_t>(dataset_.info.samples));
    comm::run_together(comm, [&] {
      if (!labels_.empty()) dataset_.read_labels(0, dataset_.info.samples, labels_.data());
    });
  }

  /// Reads along the file, in pieces that join samples lying close together.
  void load(std::span<const std::int64_t> ids) override {
    const auto count = ids.size();
    rows_.resize(count * static_cast<std::size_t>(bytes_));
    std::vector<std::size_t> by_id(count);
    std::iota(by_id.begin(), by_id.end(), std::size_t{0});
    std::sort(by_id.begin(), by_id.end(),
              [&](std::size_t a, std::size_t b) { return ids[a] < ids[b]; });
    const std::int64_t gap = 1 + kGapBytes / bytes_;
    const std::int64_t longest = std::max<std::int64_t>(1, kPieceBytes / bytes_);
    for (std::size_t first = 0; first < count;) {
      const std::int64_t begin = ids[by_id[first]];
      std::size_t last = first + 1;
      while (last < count && ids[by_id[last]] - ids[by_id[last - 1]] <= gap &&
             ids[by_id[last]] - begin < longest)
        ++last;
      const std::int64_t length = ids[by_id[last - 1]] + 1 - begin;
      piece_.resize(static_cast<std::size_t>(length * bytes_));
      dataset_.read_images(begin, length, piece_.data());
      for (; first < last; ++first) {
        std::memcpy(rows_.data() + by_id[first] * static_cast<std::size_t>(bytes_),
                    piece_.data() + (ids[by_id[first]] - begin) * bytes_,
                    static_cast<std::size_t>(bytes_));
      }
    }
  }
  const std::byte* image(std::size_t k) const override {
    return rows_.data() + k * static_cast<std::size_t>(bytes_);
  }
  const std::int32_t* labels() const override { return labels_.empty() ? nullptr : labels_.data(); }

 private:
  DatasetFile dataset_;
  std::int64_t bytes_;
  std::vector<std::int32_t> labels_;
  std::vector<std::byte> rows_, piece_;
};

}  // namespace

std::unique_ptr<SampleSource> preload(const DatasetFile& dataset, comm::Communicator& comm,
                                      core::Log& log) {
  return std::make_unique<MemorySource>(dataset, comm, log);
}

std::unique_ptr<SampleSource> stream(DatasetFile dataset, comm::Communicator& comm) {
  return std::make_unique<FileSource>(std::move(dataset), comm);
}

}  // namespace isaribi::data
