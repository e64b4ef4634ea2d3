// SPDX-License-Identifier: MIT
// io/hdf5 on one rank: every element type, ranges, attributes, and one clear error per thing that
// can be wrong with a file.
#include <sys/mount.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <thread>

#include "catch.hpp"
#include "core/error.hpp"
#include "io/hdf5/atomic.hpp"
#include "io/hdf5/file.hpp"
#include "tests/temporary_folder.hpp"

using namespace isaribi;
using hdf5::Attribute;
using hdf5::File;
namespace fs = std::filesystem;

namespace {

core::Tensor bytes_of(core::Shape shape, core::DType type) {
  core::Tensor t(std::move(shape), type);
  auto* bytes = static_cast<unsigned char*>(t.raw());
  for (std::size_t i = 0; i < t.bytes(); ++i) bytes[i] = static_cast<unsigned char>(i * 37 + 11);
  return t;
}

bool same(const core::Tensor& a, const core::Tensor& b) {
  return a.dtype() == b.dtype() && a.shape() == b.shape() &&
         std::memcmp(a.raw(), b.raw(), a.bytes()) == 0;
}

std::string cause_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const core::DataError& error) {
    return error.what();
  }
  return "no error";
}

/// Every write beyond `bytes` fails with EFBIG while this lives.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    getrlimit(RLIMIT_FSIZE, &before_);
    rlimit limit{bytes, before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }

 private:
  rlimit before_{};
  void (*handler_)(int);
};

/// A file system of a few bytes, where this process may mount one.
class TinyDisk {
 public:
  explicit TinyDisk(int bytes) {
    mounted_ = mount("tmpfs", folder_.path().c_str(), "tmpfs", 0,
                     ("size=" + std::to_string(bytes)).c_str()) == 0;
  }
  ~TinyDisk() {
    if (mounted_) umount2(folder_.path().c_str(), MNT_DETACH);
  }
  bool mounted() const { return mounted_; }
  std::string file(const std::string& name) const { return folder_.file(name); }

 private:
  TemporaryFolder folder_;
  bool mounted_ = false;
};

}  // namespace

TEST_CASE("every element type and shape comes back bit for bit") {
  const TemporaryFolder folder;
  const std::string path = folder.file("types.h5");
  const std::vector<core::DType> types = {core::DType::f64,  core::DType::f32, core::DType::f16,
                                          core::DType::bf16, core::DType::i8,  core::DType::u8,
                                          core::DType::i32};
  const std::vector<core::Shape> shapes = {{}, {1}, {7}, {0, 3}, {3, 5}, {2, 3, 1, 4, 2, 2}};
  File file = File::create(path);
  for (core::DType type : types) {
    for (std::size_t i = 0; i < shapes.size(); ++i) {
      const std::string name = std::string(core::name_of(type)) + "/" + std::to_string(i);
      file.create_dataset(name, shapes[i], type).write(bytes_of(shapes[i], type));
    }
  }
  file.close();
  const File again = File::open(path);
  CHECK(again.children() ==
        std::vector<std::string>{"bf16", "f16", "f32", "f64", "i32", "i8", "u8"});
  for (core::DType type : types) {
    for (std::size_t i = 0; i < shapes.size(); ++i) {
      const std::string name = std::string(core::name_of(type)) + "/" + std::to_string(i);
      INFO(name);
      CHECK(same(again.dataset(name).read(), bytes_of(shapes[i], type)));
    }
  }
}

TEST_CASE("any range of a flattened dataset can be written and read") {
  const TemporaryFolder folder;
  const core::Shape shape{3, 2, 4, 2};
  const core::Tensor whole = bytes_of(shape, core::DType::i32);
  File file = File::create(folder.file("ranges.h5"));
  hdf5::Dataset data = file.create_dataset("x", shape, core::DType::i32);
  for (std::int64_t begin = 0; begin <= shape.count(); ++begin) {
    for (std::int64_t end = begin; end <= shape.count(); ++end) {
      const core::Tensor zero = core::Tensor::zeros(shape, core::DType::i32);
      data.write(zero);
      const core::Tensor part = whole.slice(begin, {end - begin});
      data.write_range(begin, part);
      const core::Tensor now = data.read();
      for (std::int64_t i = 0; i < shape.count(); ++i) {
        const std::int32_t wanted = i >= begin && i < end ? whole.data<std::int32_t>()[i] : 0;
        REQUIRE(now.data<std::int32_t>()[i] == wanted);
      }
      core::Tensor back({end - begin}, core::DType::i32);
      data.read_range(begin, back);
      REQUIRE(same(back, part));
    }
  }
  core::Tensor rows({2, 2, 4, 2}, core::DType::i32);
  data.write(whole);
  data.read_rows(1, rows);
  CHECK(same(rows, whole.rows(1, 3)));
}

TEST_CASE("attributes keep integers, doubles, strings and lists, long ones too") {
  const TemporaryFolder folder;
  const std::string path = folder.file("attributes.h5");
  const std::vector<std::pair<std::string, Attribute>> values = {
      {"integer", std::int64_t{-7} << 40},
      {"real", 0.1},
      {"text", std::string("漁火")},
      {"empty", std::string()},
      {"long", std::string(200000, 'x')},
      {"integers", std::vector<std::int64_t>{1, -2, 3}},
      {"reals", std::vector<double>{0.5, -0.25}},
      {"texts", std::vector<std::string>{"T-shirt/top", "", "Bag"}},
      {"none", std::vector<std::string>{}}};
  {
    File file = File::create(path);
    file.set("text", std::int64_t{1});  // overwritten below with another type
    hdf5::Group group = file.create_group("a/b");
    for (const auto& [name, value] : values) {
      file.set(name, value);
      group.set(name, value);
    }
    file.close();
  }
  const File file = File::open(path);
  CHECK(file.attribute_names().size() == values.size());
  for (const auto& [name, value] : values) {
    INFO(name);
    CHECK(file.attribute(name) == value);
    CHECK(file.group("a/b").attribute(name) == value);
  }
  CHECK(file.has("a/b"));
  CHECK(file.is_group("a"));
  CHECK_FALSE(file.has("a/c/d"));
  CHECK(cause_of([&] { file.attribute("missing"); }).find("'missing' is missing") !=
        std::string::npos);
  CHECK(cause_of([&] { file.attribute_as<double>("text"); }).find("another type") !=
        std::string::npos);
  CHECK(cause_of([&] { file.dataset("nothing"); }).find("dataset /nothing is missing") !=
        std::string::npos);
}

TEST_CASE("a file that is missing, empty, foreign, cut short or damaged says so") {
  const TemporaryFolder folder;
  const std::string path = folder.file("good.h5");
  File file = File::create(path);
  file.create_dataset("x", {1000}, core::DType::f64).write(bytes_of({1000}, core::DType::f64));
  file.close();
  const auto open = [](const std::string& p) { return cause_of([&] { File::open(p); }); };
  CHECK(open(path) == "no error");
  CHECK(open(folder.file("none.h5")).find("No such file") != std::string::npos);
  CHECK(open(folder.path()).find("not a regular file") != std::string::npos);
  std::ofstream(folder.file("empty.h5")).flush();
  CHECK(open(folder.file("empty.h5")).find("empty") != std::string::npos);
  std::ofstream(folder.file("text.h5")) << "this is a text";
  CHECK(open(folder.file("text.h5")).find("not an HDF5 file") != std::string::npos);
  fs::resize_file(path, fs::file_size(path) - 100);
  CHECK(open(path).find("truncated") != std::string::npos);
  fs::resize_file(path, 20);
  CHECK(open(path) != "no error");
}

TEST_CASE("a full disk is an error with cause and hint, and HDF5 stays usable") {
  const TemporaryFolder folder;
  const TinyDisk disk(64 << 10);
  const auto write = [](const std::string& path, std::int64_t count, std::size_t note) {
    File file = File::create(path);
    const core::Tensor x = bytes_of({count}, core::DType::f64);
    file.create_dataset("x", x.shape(), x.dtype()).write(x);
    file.set("note", std::string(note, 'x'));
    file.close();
  };
  const auto check = [&](const std::string& cause, const std::string& wanted) {
    INFO(cause);
    CHECK(cause.find(wanted) != std::string::npos);
    CHECK(cause.find("hint") != std::string::npos);
    write(folder.file("other.h5"), 1000, 10);
    CHECK(same(File::open(folder.file("other.h5")).dataset("x").read(),
               bytes_of({1000}, core::DType::f64)));
  };
  for (const std::pair<int, int>& size : {std::pair{100000, 10}, {8180, 10}, {10, 200000}}) {
    const int count = size.first, note = size.second;
    {
      std::string cause;
      {
        const FileSizeLimit limit(1 << 16);
        cause = cause_of([&] { write(folder.file("full.h5"), count, std::size_t(note)); });
      }
      check(cause, "File too large");
    }
    if (disk.mounted())
      check(cause_of([&] { write(disk.file("full.h5"), count, std::size_t(note)); }),
            "No space left");
  }
  if (disk.mounted()) {
    std::filesystem::remove(disk.file("full.h5"));
    write(disk.file("small.h5"), 1000, 10);  // nothing keeps the space of the abandoned files
    const core::Tensor big = bytes_of({60000}, core::DType::u8);
    File file = File::create(disk.file("again.h5"));
    file.create_dataset("x", big.shape(), big.dtype());
    CHECK_THROWS_AS(file.dataset("x").write(big), core::DataError);
  } else {
    WARN("skipped in part: mounting a small tmpfs is not permitted");
  }
}

TEST_CASE("an atomic file appears whole or not at all") {
  const TemporaryFolder folder;
  const std::string path = folder.file("final.h5");
  {
    const hdf5::AtomicFile file(path);
    std::ofstream(file.temporary()) << "half";
  }
  CHECK(fs::is_empty(folder.path()));
  {
    hdf5::AtomicFile file(path, false);
    std::ofstream(file.temporary()) << "whole";
    file.commit();
  }
  std::string text;
  std::ifstream(path) >> text;
  CHECK(text == "whole");
  CHECK(cause_of([&] { hdf5::AtomicFile again(path, false); }).find("exists already") !=
        std::string::npos);
  CHECK(cause_of([&] { hdf5::AtomicFile f(folder.file("no/such/x.h5")); }).find("mkdir -p") !=
        std::string::npos);
  CHECK(std::distance(fs::directory_iterator(folder.path()), {}) == 1);
}

TEST_CASE("a folder that cannot be written says so") {
  if (::geteuid() == 0) {
    SUCCEED("skipped: root may write everywhere");
    return;
  }
  const TemporaryFolder folder;
  fs::permissions(folder.path(), fs::perms::owner_read | fs::perms::owner_exec);
  CHECK(cause_of([&] { hdf5::AtomicFile f(folder.file("x.h5")); }).find("ermission denied") !=
        std::string::npos);
  CHECK(cause_of([&] { File::create(folder.file("x.h5")); }).find("ermission denied") !=
        std::string::npos);
  fs::permissions(folder.path(), fs::perms::owner_all);
}

TEST_CASE("threads may use HDF5 at once") {
  const TemporaryFolder folder;
  std::vector<std::thread> threads;
  std::vector<int> good(3, 0);
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 20; ++i) {
        const std::string path = folder.file(std::to_string(t) + ".h5");
        const core::Tensor x = bytes_of({100, t + 1}, core::DType::f32);
        File file = File::create(path);
        file.create_dataset("x", x.shape(), x.dtype()).write(x);
        file.close();
        good[static_cast<std::size_t>(t)] += same(File::open(path).dataset("x").read(), x);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(good == std::vector<int>{20, 20, 20});
}
