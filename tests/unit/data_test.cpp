// SPDX-License-Identifier: MIT
// io/data on one rank: the order of samples, batches against the stored images, seeking, errors of
// data and of the reader thread.
#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <functional>
#include <numeric>

#include "catch.hpp"
#include "comm/rank_slice.hpp"
#include "comm/runtime.hpp"
#include "core/error.hpp"
#include "io/data/dataset.hpp"
#include "io/data/loader.hpp"
#include "io/data/sampler.hpp"
#include "tests/data_fixture.hpp"
#include "tests/temporary_folder.hpp"

using namespace isaribi;
using namespace isaribi::data;

namespace {

std::string cause_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const core::Error& error) {
    return error.what();
  }
  return "no error";
}

bool says(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

/// One rank without MPI.
struct Serial {
  comm::Runtime runtime = comm::Runtime::serial();
  core::Log log{1};
  Loader loader(const DataSettings& settings, const std::string& path, bool training,
                std::uint64_t seed = 1) {
    return {settings, path, read_info(path), training, seed, runtime.world(), log};
  }
};

std::vector<std::int64_t> ids_of(const Batch& batch) {
  const auto* ids = batch.ids.data<std::int32_t>();
  return {ids, ids + batch.ids.count()};
}

bool is_permutation_of_all(std::vector<std::int64_t> ids) {
  std::sort(ids.begin(), ids.end());
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] != static_cast<std::int64_t>(i)) return false;
  }
  return true;
}

}  // namespace

TEST_CASE("the order is a permutation for every size, seed and epoch") {
  for (const std::int64_t size : {1, 2, 3, 4, 5, 7, 8, 9, 100, 1000, 1024, 1025, 60000}) {
    for (const std::uint64_t seed : {1u, 2u}) {
      const Permutation p(size, seed, 3, 0);
      std::vector<std::int64_t> ids(static_cast<std::size_t>(size));
      for (std::int64_t i = 0; i < size; ++i) ids[static_cast<std::size_t>(i)] = p(i);
      REQUIRE(is_permutation_of_all(ids));
    }
  }
  const Permutation a(1000, 1, 0, 0), b(1000, 1, 1, 0), c(1000, 2, 0, 0);
  int same_epoch = 0, same_seed = 0;
  for (std::int64_t i = 0; i < 1000; ++i) {
    same_epoch += a(i) == b(i);
    same_seed += a(i) == c(i);
  }
  CHECK(same_epoch < 10);
  CHECK(same_seed < 10);
}

TEST_CASE("every id is about as likely at every position") {
  // 4000 epochs of 10 samples: chi-square of the 100 (position, id) cells has mean 81 (9 x 9
  // degrees of freedom) and standard deviation 12.7.
  std::array<std::array<int, 10>, 10> count{};
  std::array<int, 10> neighbours{};
  for (std::int64_t epoch = 0; epoch < 4000; ++epoch) {
    const Permutation p(10, 5, epoch, 0);
    for (std::int64_t i = 0; i < 10; ++i)
      ++count[static_cast<std::size_t>(i)][static_cast<std::size_t>(p(i))];
    ++neighbours[static_cast<std::size_t>((p(1) - p(0) + 10) % 10)];
  }
  double chi = 0;
  for (const auto& row : count) {
    for (const int n : row) chi += (n - 400.0) * (n - 400.0) / 400.0;
  }
  CHECK(chi < 81 + 5 * 12.7);
  CHECK(neighbours[0] == 0);
  for (std::size_t d = 1; d < 10; ++d) CHECK(std::abs(neighbours[d] - 444) < 110);
}

TEST_CASE("a streamed order keeps windows together and is a permutation") {
  for (const std::int64_t samples : {1, 5, 79, 80, 81, 100, 237, 1000}) {
    const OrderSpec spec{.samples = samples, .batch = 7, .shuffle = true, .chunk = 10, .seed = 3};
    for (std::int64_t epoch = 0; epoch < 3; ++epoch) {
      const EpochOrder order(spec, epoch);
      std::vector<std::int64_t> ids(static_cast<std::size_t>(samples));
      for (std::int64_t i = 0; i < samples; ++i) ids[static_cast<std::size_t>(i)] = order.id(i);
      REQUIRE(is_permutation_of_all(ids));
      if (samples == 1000) {
        std::int64_t steps_of_one = 0;  // neighbours that stayed neighbours: about 12 by chance
        for (std::size_t i = 1; i < ids.size(); ++i) steps_of_one += ids[i] == ids[i - 1] + 1;
        REQUIRE(steps_of_one < 40);
      }
      for (std::int64_t begin = 0; begin < samples;) {
        const auto [first, last] = order.window(begin);
        REQUIRE(first == begin);
        REQUIRE(last > begin);
        REQUIRE(order.window(last - 1).first == begin);
        std::vector<std::int64_t> chunks;
        for (std::int64_t p = first; p < last; ++p)
          chunks.push_back(ids[static_cast<std::size_t>(p)] / 10);
        std::sort(chunks.begin(), chunks.end());
        chunks.erase(std::unique(chunks.begin(), chunks.end()), chunks.end());
        REQUIRE(static_cast<std::int64_t>(chunks.size()) <= kWindowChunks);
        begin = last;
      }
    }
  }
}

TEST_CASE("slices of a batch are contiguous, complete and even") {
  for (const std::int64_t size : {0, 1, 2, 3, 7, 128, 1000}) {
    for (const int ranks : {1, 2, 3, 4, 7}) {
      std::int64_t at = 0;
      for (int r = 0; r < ranks; ++r) {
        const auto [begin, end] = comm::rank_slice(size, r, ranks);
        CHECK(begin == at);
        CHECK(end - begin >= size / ranks);
        CHECK(end - begin <= size / ranks + 1);
        at = end;
      }
      CHECK(at == size);
    }
  }
}

TEST_CASE("batches hold the stored images, normalised, for bytes and floats") {
  const TemporaryFolder folder;
  Serial serial;
  for (const core::DType type : {core::DType::u8, core::DType::f32}) {
    for (const std::int64_t preload_mb : {4096, 0}) {
      const std::string path = folder.file("set.h5");
      write_dataset(path, 53, {5, 4, 3}, type);
      const DatasetFile file = DatasetFile::open(path);
      CHECK(computed_digest(file) == file.info.digest);
      DataSettings settings;
      settings.batch = 8;
      settings.drop_last = false;
      settings.chunk = 3;
      settings.preload_mb = preload_mb;
      Loader loader = serial.loader(settings, path, true);
      REQUIRE(loader.batches_per_epoch() == 7);
      std::vector<std::int64_t> seen;
      double sum = 0, squares = 0;
      for (int b = 0; b < 7; ++b) {
        const Batch* batch = loader.next();
        REQUIRE(batch->index == b);
        REQUIRE(batch->global_size == (b == 6 ? 5 : 8));
        const auto ids = ids_of(*batch);
        seen.insert(seen.end(), ids.begin(), ids.end());
        for (std::size_t i = 0; i < ids.size(); ++i) {
          REQUIRE(batch->labels.data<std::int32_t>()[i] == fixture_label(ids[i]));
          for (std::int64_t e = 0; e < 60; ++e) {
            const auto c = static_cast<std::size_t>(e % 3);
            const double raw = type == core::DType::u8 ? fixture_byte(ids[i], e) / 255.0
                                                       : fixture_float(ids[i], e);
            const double wanted = (raw - file.info.mean[c]) / file.info.std[c];
            const float got = batch->images.data<float>()[static_cast<std::int64_t>(i) * 60 + e];
            REQUIRE(std::abs(got - wanted) < 1e-5);
            sum += got;
            squares += got * got;
          }
        }
      }
      CHECK(is_permutation_of_all(seen));
      CHECK(std::abs(sum / (53 * 60)) < 1e-5);
      CHECK(std::abs(squares / (53 * 60) - 1) < 1e-4);
      CHECK(loader.next()->epoch == 1);
    }
  }
}

TEST_CASE("seeking anywhere gives what a run from the start gives") {
  const TemporaryFolder folder;
  Serial serial;
  const std::string path = folder.file("set.h5");
  write_dataset(path, 100, {6, 6, 1});
  for (const std::int64_t preload_mb : {4096, 0}) {
    DataSettings settings;
    settings.batch = 16;
    settings.chunk = 4;
    settings.preload_mb = preload_mb;
    settings.augment = {.flip = true, .crop = 2, .erase = 0.5};
    Loader straight = serial.loader(settings, path, true),
           jumping = serial.loader(settings, path, true);
    std::vector<std::vector<float>> images;
    std::vector<Cursor> cursors;
    for (int b = 0; b < 20; ++b) {
      const Batch* batch = straight.next();
      const float* data = batch->images.data<float>();
      images.emplace_back(data, data + batch->images.count());
      cursors.push_back({batch->epoch, batch->index});
    }
    for (const std::size_t b : {5u, 17u, 17u, 0u, 19u, 6u}) {
      jumping.seek(cursors[b]);
      const Batch* batch = jumping.next();
      REQUIRE(batch->epoch == cursors[b].epoch);
      REQUIRE(batch->index == cursors[b].batch);
      const float* data = batch->images.data<float>();
      REQUIRE(std::vector<float>(data, data + batch->images.count()) == images[b]);
    }
    jumping.seek({0, jumping.batches_per_epoch()});
    CHECK(jumping.next()->epoch == 1);
  }
}

TEST_CASE("evaluation passes once, in order, with the last batch") {
  const TemporaryFolder folder;
  Serial serial;
  const std::string path = folder.file("set.h5");
  write_dataset(path, 25, {4, 4, 1});
  DataSettings settings;
  settings.eval_batch = 10;
  settings.augment.flip = true;
  for (const std::int64_t preload_mb : {4096, 0}) {
    settings.preload_mb = preload_mb;
    settings.chunk = 4;
    Loader loader = serial.loader(settings, path, false);
    for (int pass = 0; pass < 2; ++pass) {
      loader.seek({});
      std::vector<std::int64_t> ids;
      while (const Batch* batch = loader.next()) {
        for (const std::int64_t id : ids_of(*batch)) ids.push_back(id);
      }
      CHECK(loader.next() == nullptr);
      REQUIRE(ids.size() == 25);
      CHECK(std::is_sorted(ids.begin(), ids.end()));
    }
  }
}

TEST_CASE("a loader may be dropped at any moment") {
  const TemporaryFolder folder;
  Serial serial;
  const std::string path = folder.file("set.h5");
  write_dataset(path, 200, {8, 8, 1});
  DataSettings settings;
  settings.batch = 10;
  settings.prefetch = 1;
  for (int taken = 0; taken < 30; ++taken) {
    Loader loader = serial.loader(settings, path, true);
    for (int b = 0; b < taken; ++b) loader.next();
    if (taken % 3 == 0) loader.seek({taken, 0});
  }
  SUCCEED();
}

TEST_CASE("the order digest is the hash of what the loader delivers") {
  const TemporaryFolder folder;
  Serial serial;
  const std::string path = folder.file("set.h5");
  write_dataset(path, 100, {4, 4, 1});
  for (const std::int64_t preload_mb : {4096, 0}) {
    DataSettings settings;
    settings.batch = 16;
    settings.chunk = 5;
    settings.preload_mb = preload_mb;
    Loader loader = serial.loader(settings, path, true, 7);
    loader.seek({2, 0});
    Digest digest;
    for (std::int64_t b = 0; b < loader.batches_per_epoch(); ++b) {
      for (const std::int64_t id : ids_of(*loader.next())) digest.add(&id, sizeof id);
    }
    CHECK(digest.hex() == order_digest(settings, 100, 7, 2, preload_mb == 0));
  }
}

TEST_CASE("a file that is no sound data set says what is wrong") {
  const TemporaryFolder folder;
  const std::string path = folder.file("set.h5");
  const auto open = [&] { return cause_of([&] { read_info(path); }); };
  const auto rewrite = [&](const std::function<void(hdf5::File&)>& change) {
    hdf5::File file = hdf5::File::create(path);
    file.set("schema", std::string(kDatasetSchema));
    file.set("version", kDatasetVersion);
    file.set("digest", std::string());
    file.set("mean", std::vector<double>{0.5});
    file.set("std", std::vector<double>{0.5});
    file.set("class_names", std::vector<std::string>{});
    file.set("classes", std::int64_t{3});
    change(file);
    if (!file.has("images")) file.create_dataset("images", {2, 4, 4, 1}, core::DType::u8);
    if (!file.has("labels")) file.create_dataset("labels", {2}, core::DType::i32);
    file.close();
  };
  CHECK(says(open(), "No such file"));
  rewrite([](hdf5::File&) {});
  CHECK(open() == "no error");
  rewrite([](hdf5::File& f) { f.set("schema", std::string("other")); });
  CHECK(says(open(), "its schema is 'other'"));
  rewrite([](hdf5::File& f) { f.set("version", std::int64_t{99}); });
  CHECK(says(open(), "version 99 is newer than the 1 known"));
  rewrite([](hdf5::File& f) { f.create_dataset("images", {2, 16}, core::DType::u8); });
  CHECK(says(open(), "wanted is [N, H, W, C]"));
  rewrite([](hdf5::File& f) { f.create_dataset("images", {2, 4, 4, 1}, core::DType::i32); });
  CHECK(says(open(), "wanted is u8 or f32"));
  rewrite([](hdf5::File& f) { f.create_dataset("images", {0, 4, 4, 1}, core::DType::u8); });
  CHECK(says(open(), "no images"));
  rewrite([](hdf5::File& f) { f.create_dataset("labels", {3}, core::DType::i32); });
  CHECK(says(open(), "labels are not i32 [N]"));
  rewrite([](hdf5::File& f) { f.set("std", std::vector<double>{NAN}); });
  CHECK(says(open(), "no number"));
  rewrite([](hdf5::File& f) { f.set("mean", std::string("x")); });
  CHECK(says(open(), "another type"));
  rewrite([](hdf5::File& f) { f.set("class_names", std::vector<std::string>{"a"}); });
  CHECK(says(open(), "1 class names for 3 classes"));
  {
    hdf5::File file = hdf5::File::create(path);
    file.close();
  }
  CHECK(says(open(), "not a data set of isaribi"));
  write_dataset(path, 100, {4, 4, 1});
  std::filesystem::resize_file(path, std::filesystem::file_size(path) / 2);
  CHECK(says(open(), "truncated"));
}

TEST_CASE("bad labels and NaN are found, also by the reader thread") {
  const TemporaryFolder folder;
  Serial serial;
  const std::string path = folder.file("set.h5");
  write_dataset(path, 100, {4, 4, 1}, core::DType::f32);
  DataSettings settings;
  settings.batch = 10;
  settings.shuffle = false;
  settings.chunk = 1;
  overwrite(path, "images", 50 * 16 + 3, std::numeric_limits<float>::quiet_NaN());
  const std::string preloaded = cause_of([&] { serial.loader(settings, path, true); });
  CHECK(says(preloaded, "image 50 holds nan at element 3"));
  settings.preload_mb = 0;
  {
    Loader loader = serial.loader(settings, path, true);
    int good = 0;
    const std::string streamed = cause_of([&] {
      for (; true; ++good) loader.next();
    });
    CHECK(says(streamed, "image 50 holds nan at element 3"));
    CHECK(good >= 4);
    CHECK(good <= 5);
    CHECK(says(cause_of([&] { loader.next(); }), "nan"));
    loader.seek({0, 0});
    CHECK(loader.next()->index == 0);
  }
  overwrite(path, "labels", 7, std::int32_t{10});
  CHECK(says(cause_of([&] { serial.loader(settings, path, true); }),
             "label 10 of sample 7 is outside of 0 ... 9"));
  settings.preload_mb = 4096;
  write_dataset(path, 100, {4, 4, 1});
  overwrite(path, "labels", 99, std::int32_t{-1});
  CHECK(says(cause_of([&] { serial.loader(settings, path, true); }), "label -1 of sample 99"));
}

TEST_CASE("settings that cannot work are refused") {
  const TemporaryFolder folder;
  Serial serial;
  const std::string path = folder.file("set.h5"), colour = folder.file("colour.h5");
  write_dataset(path, 20, {4, 4, 1});
  write_dataset(colour, 20, {4, 4, 3});
  DataSettings settings;
  settings.batch = 21;
  CHECK(says(cause_of([&] { serial.loader(settings, path, true); }), "holds only 20 samples"));
  settings.drop_last = false;
  CHECK(serial.loader(settings, path, true).batches_per_epoch() == 1);
  settings.normalize = "other";
  CHECK(says(cause_of([&] { serial.loader(settings, path, true); }), "\"standard\" or \"unit\""));
  settings.normalize = "standard";
  CHECK(says(cause_of([&] {
               Loader loader(settings, colour, read_info(path), false, 1, serial.runtime.world(),
                             serial.log);
             }),
             "3 channels"));
  write_dataset(colour, 20, {4, 5, 1});
  CHECK(says(cause_of([&] {
               Loader loader(settings, colour, read_info(path), false, 1, serial.runtime.world(),
                             serial.log);
             }),
             "its images are [4, 5, 1]"));
}
