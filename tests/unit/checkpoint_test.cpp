// SPDX-License-Identifier: MIT
// io/checkpoint: what is written is read back, damage is named, the newest good file wins, rotation
// keeps the last good one.
#include "io/checkpoint/checkpoint.hpp"

#include <unistd.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "catch.hpp"
#include "comm/runtime.hpp"
#include "core/error.hpp"
#include "io/checkpoint/folder.hpp"
#include "io/checkpoint/format.hpp"

using namespace isaribi;
namespace fs = std::filesystem;

namespace {

struct Folder {
  fs::path path;
  Folder() {
    std::string name = (fs::temp_directory_path() / "isaribi-checkpoint-XXXXXX").string();
    path = mkdtemp(name.data());
  }
  ~Folder() { fs::remove_all(path); }
  std::string text() const { return (path / "checkpoints").string(); }
};

checkpoint::State example(float first = 1.0f) {
  checkpoint::State s;
  core::Tensor w({3, 5}, core::DType::f32), m({7}, core::DType::f64), empty({0}, core::DType::f32);
  for (int i = 0; i < 15; ++i) w.data<float>()[i] = first + 0.1f * static_cast<float>(i);
  for (int i = 0; i < 7; ++i) m.data<double>()[i] = std::sin(i);
  s.tensors = {
      {"weights/conv1/weight", w}, {"norm/bn1/running_mean", m}, {"optimizer/empty", empty}};
  s.values["progress/step"] = std::int64_t{42};
  s.values["progress/loss"] = 0.1;
  s.notes["deck"] = std::string("[run]\nseed = 1\n");
  return s;
}

void damage(const std::string& path, std::uintmax_t where) {
  std::fstream f(path, std::ios::in | std::ios::out | std::ios::binary);
  f.seekg(static_cast<std::streamoff>(where));
  const int c = f.get();
  f.seekp(static_cast<std::streamoff>(where));
  f.put(static_cast<char>(c ^ 1));
}

// Position of the 15 floats of `example` in the file.
std::uintmax_t find_weights(const std::string& path) {
  std::ifstream f(path, std::ios::binary);
  const std::string all((std::istreambuf_iterator<char>(f)), {});
  const checkpoint::State s = example();
  const std::string_view raw(static_cast<const char*>(s.tensors[0].tensor.raw()),
                             s.tensors[0].tensor.bytes());
  const std::size_t at = all.find(raw);
  REQUIRE(at != std::string::npos);
  return at;
}

}  // namespace

TEST_CASE("a checkpoint comes back with the same digest") {
  Folder folder;
  auto runtime = comm::Runtime::serial();
  const std::string path = checkpoint::save(folder.text(), 42, example(), 3, runtime.world());
  CHECK(fs::path(path).filename() == "step-000000000042.h5");
  const checkpoint::State got = checkpoint::load(path, runtime.world());
  CHECK(checkpoint::digest(got, true) == checkpoint::digest(example(), true));
  CHECK(checkpoint::differences(got, example()).empty());
  CHECK(std::get<std::string>(got.notes.at("deck")) == "[run]\nseed = 1\n");
}

TEST_CASE("digests see weights, names, values; notes do not count") {
  const checkpoint::State a = example();
  checkpoint::State b = example();
  b.notes["deck"] = std::string("other");
  CHECK(checkpoint::digest(a, true) == checkpoint::digest(b, true));
  b.values["progress/step"] = std::int64_t{43};
  CHECK(checkpoint::digest(a, false) == checkpoint::digest(b, false));
  CHECK(checkpoint::digest(a, true) != checkpoint::digest(b, true));
  CHECK(checkpoint::digest(a, false) != checkpoint::digest(example(1.5f), false));
  const auto lines = checkpoint::differences(a, b);
  REQUIRE(lines.size() == 1);
  CHECK(lines[0] == "progress/step: 42 | 43");
  CHECK(checkpoint::differences(a, example(1.5f))[0].find("15 of 15 values differ") !=
        std::string::npos);
}

TEST_CASE("one flipped bit is found and named, and the older file is used") {
  Folder folder;
  auto runtime = comm::Runtime::serial();
  core::Log log(1);
  checkpoint::save(folder.text(), 1, example(), 3, runtime.world());
  const std::string newest = checkpoint::save(folder.text(), 2, example(), 3, runtime.world());
  damage(newest, find_weights(newest) + 17);
  CHECK_THROWS_WITH(checkpoint::load(newest, runtime.world()),
                    Catch::Contains("weights/conv1/weight") && Catch::Contains("damaged"));
  const auto found = checkpoint::load_latest(folder.text(), runtime.world(), log);
  REQUIRE(found);
  CHECK(fs::path(found->path).filename() == "step-000000000001.h5");
}

TEST_CASE("a pointer that a kill has left behind is moved to what is loaded") {
  Folder folder;
  auto runtime = comm::Runtime::serial();
  core::Log log(1);
  const std::string first = checkpoint::save(folder.text(), 1, example(), 3, runtime.world());
  checkpoint::save(folder.text(), 2, example(), 3, runtime.world());
  const auto pointed = [&] {
    std::ifstream pointer(folder.text() + "/latest");
    std::string name;
    std::getline(pointer, name);
    return name;
  };
  checkpoint::point_latest(folder.text(), "step-000000000001.h5");
  REQUIRE(pointed() == "step-000000000001.h5");
  REQUIRE(checkpoint::load_latest(folder.text(), runtime.world(), log));
  CHECK(pointed() == "step-000000000002.h5");
  fs::resize_file(folder.text() + "/step-000000000002.h5", 10);
  REQUIRE(checkpoint::load_latest(folder.text(), runtime.world(), log)->path == first);
  CHECK(pointed() == "step-000000000001.h5");
}

TEST_CASE("a pointer that cannot be moved is what is complained of, not the checkpoints") {
  Folder folder;
  auto runtime = comm::Runtime::serial();
  core::Log log(1);
  checkpoint::save(folder.text(), 1, example(), 3, runtime.world());
  fs::remove(folder.text() + "/latest");
  fs::create_directories(folder.text() + "/latest/in the way");
  CHECK_THROWS_WITH(checkpoint::load_latest(folder.text(), runtime.world(), log),
                    Catch::Contains("latest") && !Catch::Contains("can be used"));
}

TEST_CASE("truncated, empty and foreign files are refused; when nothing is left the run stops") {
  Folder folder;
  auto runtime = comm::Runtime::serial();
  core::Log log(1);
  CHECK_FALSE(checkpoint::load_latest(folder.text(), runtime.world(), log));
  const std::string path = checkpoint::save(folder.text(), 1, example(), 3, runtime.world());
  const auto size = fs::file_size(path);
  for (const std::uintmax_t left :
       {size * 3 / 4, size / 2, std::uintmax_t{10}, std::uintmax_t{0}}) {
    fs::resize_file(path, left);
    try {
      checkpoint::load(path, runtime.world());
      FAIL("accepted a file of " << left << " bytes");
    } catch (const core::Error& error) {
      CHECK(error.code() == core::ExitCode::data);
      CHECK_THAT(error.what(), Catch::Contains(path));
    }
  }
  CHECK_THROWS_WITH(checkpoint::load_latest(folder.text(), runtime.world(), log),
                    Catch::Contains("none of its 1"));
}

TEST_CASE("rotation keeps the newest and removes leftovers") {
  Folder folder;
  auto runtime = comm::Runtime::serial();
  fs::create_directories(folder.text());
  std::ofstream(folder.text() + "/step-000000000009.h5.tmp") << "half";
  for (int step = 10; step < 15; ++step)
    checkpoint::save(folder.text(), step, example(), 2, runtime.world());
  const auto left = checkpoint::list(folder.text());
  REQUIRE(left.size() == 2);
  CHECK(fs::path(left[0]).filename() == "step-000000000014.h5");
  CHECK_FALSE(fs::exists(folder.text() + "/step-000000000009.h5.tmp"));
  std::string latest;
  std::getline(std::ifstream(folder.text() + "/latest") >> std::ws, latest);
  CHECK(latest == "step-000000000014.h5");
}

TEST_CASE("restore names what does not fit") {
  const checkpoint::State s = example();
  core::Tensor w({3, 5}, core::DType::f32), other({5, 3}, core::DType::f32);
  checkpoint::restore(s, "weights/", {{"conv1/weight", w}}, "f.h5");
  CHECK(std::memcmp(w.raw(), s.tensors[0].tensor.raw(), w.bytes()) == 0);
  CHECK_THROWS_WITH(checkpoint::restore(s, "weights/", {{"conv1/weight", other}}, "f.h5"),
                    Catch::Contains("f32[5, 3]"));
  CHECK_THROWS_WITH(checkpoint::restore(s, "weights/", {{"conv9/weight", w}}, "f.h5"),
                    Catch::Contains("conv9/weight is missing"));
  CHECK_THROWS_WITH(checkpoint::restore(s, "weights/", {}, "f.h5"), Catch::Contains("no place"));
}

TEST_CASE("a folder that cannot be written says so and keeps what is there") {
  Folder folder;
  auto runtime = comm::Runtime::serial();
  checkpoint::save(folder.text(), 1, example(), 3, runtime.world());
  const std::string file = (folder.path / "file").string();
  std::ofstream(file) << "x";
  try {
    checkpoint::save(file + "/checkpoints", 2, example(), 3, runtime.world());
    FAIL("wrote below a file");
  } catch (const core::Error& error) {
    CHECK(error.code() == core::ExitCode::data);
  }
  CHECK(checkpoint::list(folder.text()).size() == 1);
}
