// SPDX-License-Identifier: MIT
// The loader over ranks: every rank holds its slice of the very batches that one rank alone would
// see, whether the set is held in memory or streamed, and errors end on all ranks alike.
#include <cstring>
#include <limits>

#include "comm/rank_slice.hpp"
#include "comm/runtime.hpp"
#include "core/error.hpp"
#include "io/data/loader.hpp"
#include "tests/data_fixture.hpp"
#include "tests/mpi/harness.hpp"
#include "tests/mpi/shared_folder.hpp"

using namespace isaribi;
using namespace isaribi::mpi_test;
using namespace isaribi::data;
using comm::Communicator;

namespace {

/// All slices of a batch in rank order, as one list of ids.
std::vector<std::int32_t> gather_ids(const Batch& batch, Communicator& world) {
  const std::string mine(static_cast<const char*>(batch.ids.raw()), batch.ids.bytes());
  std::vector<std::int32_t> all;
  for (const std::string& part : world.all_gather_strings(mine)) {
    if (part.empty()) continue;
    const std::size_t at = all.size();
    all.resize(at + part.size() / sizeof(std::int32_t));
    std::memcpy(all.data() + at, part.data(), part.size());
  }
  return all;
}

void same_batches(Communicator& world, std::int64_t batch_size, std::int64_t preload_mb,
                  bool drop_last) {
  const SharedFolder folder(world);
  const std::string path = folder.file("set.h5");
  if (world.is_root()) write_dataset(path, 103, {6, 5, 2});
  world.barrier();
  DataSettings settings;
  settings.batch = batch_size;
  settings.drop_last = drop_last;
  settings.chunk = 4;
  settings.preload_mb = preload_mb;
  settings.augment = {.flip = true, .crop = 1, .erase = 0.5};
  core::Log log(world.rank());
  comm::Runtime serial = comm::Runtime::serial();
  const DatasetInfo info = read_info(path);
  Loader mine(settings, path, info, true, 5, world, log);
  Loader alone(settings, path, info, true, 5, serial.world(), log);
  for (std::int64_t epoch = 0; epoch < 2; ++epoch) {
    Digest order;
    for (std::int64_t b = 0; b < mine.batches_per_epoch(); ++b) {
      const Batch *part = mine.next(), *whole = alone.next();
      expect_equal(part->epoch, epoch, "epoch");
      expect_equal(part->global_size, whole->global_size, "global size");
      const auto [first, last] = comm::rank_slice(part->global_size, world.rank(), world.size());
      expect_equal(part->images.shape()[0], last - first, "slice");
      const core::Tensor wanted = whole->images.rows(first, last);
      expect(std::memcmp(part->images.raw(), wanted.raw(), wanted.bytes()) == 0, "images");
      expect(std::memcmp(part->labels.raw(), whole->labels.rows(first, last).raw(),
                         part->labels.bytes()) == 0,
             "labels");
      for (const std::int64_t id : gather_ids(*part, world)) order.add(&id, sizeof id);
    }
    expect_equal(order.hex(), order_digest(settings, 103, 5, epoch, preload_mb == 0), "order");
  }
}

void batches(Communicator& world) {
  same_batches(world, 16, 4096, false);
  same_batches(world, 16, 0, true);
  same_batches(world, 3, 4096, true);  // fewer samples than ranks: empty slices
  same_batches(world, 3, 0, false);
  same_batches(world, 1, 0, true);
  same_batches(world, 103, 4096, true);
}

void errors(Communicator& world) {
  const SharedFolder folder(world);
  const std::string path = folder.file("set.h5");
  core::Log log(world.rank());
  const auto load = [&](std::int64_t preload_mb) {
    DataSettings settings;
    settings.batch = 10;
    settings.preload_mb = preload_mb;
    try {
      DatasetInfo stats;
      stats.mean = stats.std = {0.5};
      Loader loader(settings, path, stats, true, 1, world, log);
      return std::string("no error");
    } catch (const core::Error& error) {
      expect(error.code() == core::ExitCode::data, "exit code 3");
      return std::string(error.what());
    }
  };
  expect_in("No such file", load(4096));
  if (world.is_root()) {
    write_dataset(path, 100, {4, 4, 1}, core::DType::f32);
    overwrite(path, "images", 99 * 16, std::numeric_limits<float>::infinity());  // the last rank's
  }
  world.barrier();
  expect_in("image 99 holds inf", load(4096));
  expect_equal(load(0), "no error");  // streamed: found when it is read
  world.barrier();
  if (world.is_root()) overwrite(path, "labels", 3, std::int32_t{77});
  world.barrier();
  expect_in("label 77 of sample 3", load(0));
}

}  // namespace

int main(int argc, char** argv) {
  return run_cases(argc, argv, {{"batches", batches}, {"errors", errors}});
}
