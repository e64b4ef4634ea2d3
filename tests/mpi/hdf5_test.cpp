// SPDX-License-Identifier: MIT
// io/hdf5 over MPI-IO: uneven and empty parts, long attributes, read-back; errors that one rank or
// all ranks see end on all of them.
#include <sys/mount.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <filesystem>
#include <iostream>

#include "core/error.hpp"
#include "io/hdf5/file.hpp"
#include "tests/mpi/harness.hpp"
#include "tests/mpi/shared_folder.hpp"

using namespace isaribi;
using namespace isaribi::mpi_test;
using comm::Communicator;

namespace {

const core::Shape kShape{13, 3, 5, 2};

core::Tensor numbers(core::DType type, int salt) {
  core::Tensor t(kShape, type);
  auto* bytes = static_cast<unsigned char*>(t.raw());
  for (std::size_t i = 0; i < t.bytes(); ++i)
    bytes[i] = static_cast<unsigned char>(i * 7 + static_cast<std::size_t>(salt));
  return t;
}

constexpr core::DType kTypes[] = {core::DType::f64,  core::DType::f32, core::DType::f16,
                                  core::DType::bf16, core::DType::i8,  core::DType::u8,
                                  core::DType::i32};

/// What rank `r` writes of dataset `k`: even parts, or all on the last rank.
std::pair<std::int64_t, std::int64_t> part(const Communicator& world, int k) {
  const std::int64_t n = kShape.count(), size = world.size(), r = world.rank();
  if (k % 3 == 2) return {r + 1 == size ? 0 : n, n};
  return {n * r / size, n * (r + 1) / size};
}

void write_and_read(Communicator& world) {
  const SharedFolder folder(world);
  const std::string path = folder.file("all.h5");
  hdf5::File file = hdf5::File::create(path, world);
  file.set("deck", std::string(100000, 'd'));
  file.set("names", std::vector<std::string>{"a", "", "c"});
  int k = 0;
  for (const core::DType type : kTypes) {
    hdf5::Dataset d = file.create_dataset("group/" + std::to_string(k), kShape, type);
    const auto [begin, end] = part(world, k);
    d.write_range(begin, numbers(type, k).slice(begin, {end - begin}));
    ++k;
  }
  file.create_dataset("empty", {0, 4}, core::DType::f32)
      .write_range(0, core::Tensor({0}, core::DType::f32));
  file.close();
  const hdf5::File together = hdf5::File::open(path, world), alone = hdf5::File::open(path);
  k = 0;
  for (const core::DType type : kTypes) {
    const core::Tensor wanted = numbers(type, k);
    core::Tensor got(kShape, type);
    const std::string name = "group/" + std::to_string(k++);
    together.dataset(name).read_range(0, got, hdf5::Transfer::collective);
    expect(std::memcmp(got.raw(), wanted.raw(), got.bytes()) == 0, name + " read together");
    expect(std::memcmp(alone.dataset(name).read().raw(), wanted.raw(), got.bytes()) == 0,
           name + " read alone");
  }
  expect_equal(together.attribute_as<std::string>("deck").size(), std::size_t{100000}, "deck");
  expect_equal(together.children().size(), std::size_t{2}, "children");
}

void missing_file(Communicator& world) {
  const SharedFolder folder(world);
  try {
    hdf5::File::open(folder.file("none.h5"), world);
    expect(false, "opening a missing file fails");
  } catch (const core::DataError& error) {
    expect_in("No such file", error.what());
  }
  // A file that only rank 0 can see: the others must not wait for it.
  const std::string mine = folder.file("rank" + std::to_string(world.rank()) + ".h5");
  if (world.is_root()) hdf5::File::create(mine).close();
  try {
    hdf5::File::open(mine, world);
    expect(world.size() == 1, "opening a file that only one rank has fails");
  } catch (const core::DataError& error) {
    expect_in(world.is_root() ? "another rank failed to" : "No such file", error.what());
  }
}

void full_disk(Communicator& world) {
  const SharedFolder folder(world);
  int mounted = 0;
  if (world.is_root())
    mounted = mount("tmpfs", folder.path().c_str(), "tmpfs", 0, "size=1m") == 0 ? 1 : 0;
  mounted = static_cast<int>(world.all_reduce(std::int64_t{mounted}, comm::ReduceOp::max));
  if (mounted == 0) {
    if (world.is_root()) std::cout << "note: mounting a small tmpfs is not permitted\n";
    return;
  }
  for (int attempt = 0; attempt < 2; ++attempt) {
    hdf5::File file = hdf5::File::create(folder.file("full.h5"), world);
    hdf5::Dataset d = file.create_dataset("x", {1 << 20}, core::DType::f32);
    const core::Tensor mine = core::Tensor::zeros({(1 << 20) / world.size()}, core::DType::f32);
    try {
      d.write_range(world.rank() * mine.count(), mine);
      expect(false, "writing on a full disk fails");
    } catch (const core::DataError& error) {
      expect_in("No space left", error.what());
    }
    file.abandon();
    world.barrier();
    if (world.is_root()) {
      std::filesystem::remove(folder.file("full.h5"));
      expect_equal(std::filesystem::space(folder.path()).available, std::uintmax_t{1 << 20},
                   "space of an abandoned file");
    }
    world.barrier();
  }
  hdf5::File file = hdf5::File::create(folder.file("small.h5"), world);
  file.create_dataset("x", {100}, core::DType::f32);
  file.close();
  world.barrier();
  if (world.is_root()) umount2(folder.path().c_str(), MNT_DETACH);
}

}  // namespace

int main(int argc, char** argv) {
  return run_cases(argc, argv,
                   {{"write and read", write_and_read},
                    {"missing file", missing_file},
                    {"full disk", full_disk}});
}
