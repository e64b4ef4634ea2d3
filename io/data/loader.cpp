// SPDX-License-Identifier: MIT
#include "io/data/loader.hpp"

#include <fmt/format.h>

#include <optional>
#include <thread>

#include "comm/agreement.hpp"
#include "core/error.hpp"
#include "io/data/augment.hpp"
#include "io/data/dataset.hpp"
#include "io/data/reader.hpp"
#include "io/data/ring.hpp"
#include "io/data/sampler.hpp"
#include "io/data/source.hpp"

namespace isaribi::data {
namespace {

void require_settings(const DataSettings& s, const DatasetInfo& info, bool training) {
  const std::int64_t batch = training ? s.batch : s.eval_batch;
  if (batch < 1) throw core::UsageError(fmt::format("a batch of {} samples", batch));
  if (s.normalize != "standard" && s.normalize != "unit")
    throw core::UsageError("data/normalize = \"" + s.normalize + "\"",
                           "choose \"standard\" or \"unit\"");
  if (s.augment.crop < 0) throw core::UsageError("data/augment crop is negative");
  if (training && s.drop_last && batch > info.samples)
    throw core::UsageError(fmt::format("data/batch = {}, but {} holds only {} samples", batch,
                                       info.path, info.samples),
                           "choose a smaller batch, or drop_last = false");
}

/// `info` is of the same kind of images as `stats`, the training set.
void require_same_kind(const DatasetInfo& info, const DatasetInfo& stats) {
  const std::string hint = "training and test set must be of one kind";
  if (stats.mean.size() != static_cast<std::size_t>(info.sample[2]))
    throw core::DataError(info.path,
                          fmt::format("its images have {} channels, those of {} have {}",
                                      info.sample[2], stats.path, stats.mean.size()),
                          hint);
  if (stats.sample.rank() == 3 && stats.sample != info.sample)
    throw core::DataError(info.path,
                          fmt::format("its images are {}, those of {} are {}", info.sample.text(),
                                      stats.path, stats.sample.text()),
                          hint);
  if (stats.classes > 0 && info.classes > stats.classes)
    throw core::DataError(
        info.path,
        fmt::format("it has {} classes, {} has {}", info.classes, stats.path, stats.classes), hint);
}

/// Opened and found to fit on every rank, or the same error on every rank.
DatasetFile open_together(const std::string& path, const DataSettings& settings,
                          const DatasetInfo& stats, bool training, comm::Communicator& comm) {
  std::optional<DatasetFile> dataset;
  comm::run_together(comm, [&] {
    dataset.emplace(DatasetFile::open(path));
    require_settings(settings, dataset->info, training);
    require_same_kind(dataset->info, stats);
  });
  return std::move(*dataset);
}

Normalizer make_normalizer(const DataSettings& settings, const DatasetInfo& info,
                           const DatasetInfo& stats) {
  if (settings.normalize == "unit") return {info.sample, info.type, {}, {}};
  return {info.sample, info.type, stats.mean, stats.std};
}

}  // namespace

struct Loader::Impl {
  Impl(const DataSettings& settings, DatasetFile dataset, const DatasetInfo& stats, bool training,
       std::uint64_t seed, comm::Communicator& comm, core::Log& log)
      : info(dataset.info), normalizer(make_normalizer(settings, info, stats)) {
    const std::int64_t bytes = info.samples * dataset.sample_bytes();
    const bool streamed = bytes > (settings.preload_mb << 20);
    plan.order = OrderSpec::training(settings, info.samples, seed, streamed);
    if (training) {
      plan.augment = settings.augment;
    } else {
      plan.order.batch = settings.eval_batch;
      plan.order.shuffle = plan.order.drop_last = false;
    }
    plan.repeat = training;
    plan.sample = info.sample;
    plan.sample_bytes = dataset.sample_bytes();
    plan.rank = comm.rank();
    plan.ranks = comm.size();
    source = streamed ? stream(std::move(dataset), comm) : preload(dataset, comm, log);
    for (std::int64_t i = 0; i < 1 + std::max<std::int64_t>(settings.prefetch, 1); ++i)
      slots.push_back(Reader::make_slot(plan, info.classes > 0));
    log.debug("{}: {} images {} of {} bytes, {}", info.path, info.samples, info.sample.text(),
              dataset.sample_bytes(), streamed ? "streamed" : "held in memory");
  }
  ~Impl() { stop(); }

  void start(Cursor cursor) {
    stop();
    if (plan.repeat && cursor.batch >= plan.order.batches_per_epoch())
      cursor = {cursor.epoch + 1, 0};
    at = cursor;
    ring = std::make_unique<Ring>(slots);
    thread = std::thread([this, cursor] { Reader(plan, normalizer, *source).run(cursor, *ring); });
  }
  void stop() {
    if (!thread.joinable()) return;
    ring->close();
    thread.join();
    waited += ring->waited_seconds();
    ring.reset();
  }

  DatasetInfo info;
  Normalizer normalizer;
  ReaderPlan plan;
  std::unique_ptr<SampleSource> source;
  std::vector<Slot> slots;   ///< handles: each ring works on the same memory
  std::optional<Cursor> at;  ///< the batch that next() delivers
  std::unique_ptr<Ring> ring;
  std::thread thread;
  double waited = 0;
};

Loader::Loader(const DataSettings& settings, const std::string& path, const DatasetInfo& stats,
               bool training, std::uint64_t seed, comm::Communicator& comm, core::Log& log)
    : impl_(std::make_unique<Impl>(settings, open_together(path, settings, stats, training, comm),
                                   stats, training, seed, comm, log)) {}

Loader::~Loader() = default;

const DatasetInfo& Loader::info() const {
  return impl_->info;
}

std::int64_t Loader::batches_per_epoch() const {
  return impl_->plan.order.batches_per_epoch();
}

void Loader::seek(const Cursor& cursor) {
  const auto& at = impl_->at;
  // Where delivery stands already, what is prepared stays.
  if (at && at->epoch == cursor.epoch && at->batch == cursor.batch) return;
  impl_->start(cursor);
}

const Batch* Loader::next() {
  if (!impl_->at) impl_->start({});
  if (!impl_->ring) return nullptr;
  const Slot* slot = impl_->ring->take();
  if (slot == nullptr) return nullptr;
  impl_->at = {slot->batch.epoch, slot->batch.index + 1};
  if (impl_->plan.repeat && impl_->at->batch == batches_per_epoch())
    impl_->at = {slot->batch.epoch + 1, 0};
  return &slot->batch;
}

double Loader::waited_seconds() const {
  return impl_->waited + (impl_->ring ? impl_->ring->waited_seconds() : 0.0);
}

}  // namespace isaribi::data
