// SPDX-License-Identifier: MIT
// io/convert: every format from fixtures made here, and one clear error per thing that can be wrong
// with a source; after each error nothing is left behind. Real Fashion-MNIST where it is installed.
#include "io/convert/convert.hpp"

#include <png.h>
#include <sys/resource.h>
#include <zlib.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <functional>

#include "catch.hpp"
#include "core/error.hpp"
#include "io/data/dataset.hpp"
#include "tests/temporary_folder.hpp"

using namespace isaribi;
using namespace isaribi::convert;
namespace fs = std::filesystem;
using Bytes = std::string;

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
  if (text.find(part) != std::string::npos) return true;
  WARN(text);
  return false;
}

Bytes big_endian(std::uint32_t value) {
  Bytes out;
  for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>(value >> shift & 255);
  return out;
}

Bytes idx(int type, const std::vector<std::uint32_t>& extents, const Bytes& values) {
  Bytes out{0, 0, static_cast<char>(type), static_cast<char>(extents.size())};
  for (const std::uint32_t e : extents) out += big_endian(e);
  return out + values;
}

Bytes pattern(std::size_t count, int step = 7) {
  Bytes out(count, '\0');
  for (std::size_t i = 0; i < count; ++i)
    out[i] = static_cast<char>(i * static_cast<std::size_t>(step) % 251);
  return out;
}

void write_file(const std::string& path, const Bytes& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

void write_gzip(const std::string& path, const Bytes& bytes) {
  gzFile file = gzopen(path.c_str(), "wb");
  gzwrite(file, bytes.data(), static_cast<unsigned>(bytes.size()));
  gzclose(file);
}

/// A folder with a sound pair of IDX files: 6 images of 3 x 2, labels 0 ... 2.
struct IdxFixture {
  TemporaryFolder folder;
  IdxSources sources{folder.file("images"), folder.file("labels")};
  std::string out = folder.file("out.h5");
  Bytes images = idx(8, {6, 3, 2}, pattern(36)), labels = idx(8, {6}, Bytes("\0\1\2\0\1\2", 6));

  std::string convert(const Options& options = {}) {
    write_file(sources.images, images);
    write_file(sources.labels, labels);
    return convert_as_is(options);
  }
  std::string convert_as_is(const Options& options = {}) {
    const std::string cause = cause_of([&] { convert_idx(sources, out, options); });
    for (const auto& entry : fs::directory_iterator(folder.path()))
      CHECK(entry.path().extension() != ".tmp");
    return cause;
  }
};

struct PngFormat {
  int depth, colour;
};

/// `rows` are packed as libpng wants them.
void write_png(const std::string& path, int width, int height, PngFormat format, const Bytes& rows,
               bool interlaced = false) {
  std::FILE* file = std::fopen(path.c_str(), "wb");
  png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, nullptr, nullptr, nullptr);
  png_infop info = png_create_info_struct(png);
  png_init_io(png, file);
  png_set_IHDR(png, info, static_cast<png_uint_32>(width), static_cast<png_uint_32>(height),
               format.depth, format.colour, interlaced ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE,
               PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
  const png_color palette[4] = {{255, 0, 0}, {0, 255, 0}, {0, 0, 255}, {9, 8, 7}};
  if (format.colour == PNG_COLOR_TYPE_PALETTE) png_set_PLTE(png, info, palette, 4);
  png_write_info(png, info);
  const std::size_t row = png_get_rowbytes(png, info);
  Bytes bytes = rows;
  std::vector<png_bytep> pointers;
  for (int y = 0; y < height; ++y)
    pointers.push_back(reinterpret_cast<png_bytep>(bytes.data()) +
                       static_cast<std::size_t>(y) * row);
  png_write_image(png, pointers.data());
  png_write_end(png, info);
  png_destroy_write_struct(&png, &info);
  std::fclose(file);
}

std::vector<int> images_of(const std::string& path) {
  const core::Tensor t = data::DatasetFile::open(path).file.dataset("images").read();
  const auto* p = t.data<std::uint8_t>();
  return {p, p + t.count()};
}

std::vector<int> labels_of(const std::string& path) {
  const core::Tensor t = data::DatasetFile::open(path).file.dataset("labels").read();
  const auto* p = t.data<std::int32_t>();
  return {p, p + t.count()};
}

}  // namespace

TEST_CASE("IDX becomes the same values, plain and gzip") {
  IdxFixture f;
  for (const bool gzip : {false, true}) {
    (gzip ? write_gzip : write_file)(f.sources.images, f.images);
    (gzip ? write_gzip : write_file)(f.sources.labels, f.labels);
    std::vector<std::int64_t> steps;
    Options options;
    options.replace = true;
    options.creator = "isaribi test";
    options.progress = [&](std::int64_t done, std::int64_t total) {
      CHECK(total == 6);
      steps.push_back(done);
    };
    const Summary summary = convert_idx(f.sources, f.out, options);
    CHECK(steps.back() == 6);
    CHECK(summary.sample == core::Shape{3, 2, 1});
    CHECK(summary.classes == 3);
    CHECK(summary.recognised.empty());
    const data::DatasetFile file = data::DatasetFile::open(f.out);
    CHECK(file.info.samples == 6);
    CHECK(file.info.digest == summary.digest);
    CHECK(data::computed_digest(file) == summary.digest);
    CHECK(file.file.attribute_as<std::string>("creator") == "isaribi test");
    const auto images = images_of(f.out);
    for (std::size_t i = 0; i < 36; ++i) CHECK(images[i] == static_cast<int>(i * 7 % 251));
    CHECK(labels_of(f.out) == std::vector<int>{0, 1, 2, 0, 1, 2});
  }
}

TEST_CASE("IDX of floats, of colours, with wide labels, without labels") {
  IdxFixture f;
  Bytes values;
  for (int i = 0; i < 4; ++i)
    values += big_endian(std::bit_cast<std::uint32_t>(0.5f * static_cast<float>(i) - 1));
  f.images = idx(0x0D, {2, 1, 1, 2}, values);
  f.labels = idx(0x0C, {2}, big_endian(300) + big_endian(0));
  REQUIRE(f.convert() == "no error");
  const data::DatasetFile file = data::DatasetFile::open(f.out);
  CHECK(file.info.sample == core::Shape{1, 1, 2});
  CHECK(file.info.classes == 301);
  CHECK(file.info.mean == std::vector<double>{-0.5, 0.0});
  CHECK(file.info.std == std::vector<double>{0.5, 0.5});
  CHECK(file.file.dataset("images").read().data<float>()[3] == 0.5f);
  f.sources.labels.clear();
  Options options;
  options.replace = true;
  REQUIRE(f.convert_as_is(options) == "no error");
  CHECK(data::read_info(f.out).classes == 0);
}

TEST_CASE("each defect of IDX files has its message and leaves nothing behind") {
  IdxFixture f;
  const Bytes images = f.images, labels = f.labels;
  const auto with = [&](const Bytes& i, const Bytes& l) {
    f.images = i;
    f.labels = l;
    const std::string cause = f.convert();
    CHECK_FALSE(fs::exists(f.out));
    return cause;
  };
  CHECK(says(with("", labels), "truncated in the IDX header"));
  CHECK(says(with("hello world", labels), "not an IDX file"));
  CHECK(says(with(images.substr(0, 9), labels), "truncated in the IDX header"));
  CHECK(says(with(images.substr(0, 40), labels), "truncated"));
  CHECK(says(with(images + "x", labels), "bytes are left after the 52"));
  CHECK(says(with(labels, images), "not a file of images"));
  CHECK(says(with(idx(8, {0, 3, 2}, ""), idx(8, {0}, "")), "no images"));
  CHECK(says(with(idx(0x0B, {1, 1, 1}, "ab"), labels), "type 0x0b"));
  CHECK(says(with(idx(8, {0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF}, "ab"), labels), "announces"));
  CHECK(says(with(images, images), "not a file of labels"));
  CHECK(says(with(images, idx(8, {5}, pattern(5))), "5 labels for 6 images"));
  CHECK(says(with(images, labels.substr(0, 12)), "truncated"));
  CHECK(says(with(images, labels + "xy"), "bytes are left"));
  CHECK(says(with(images, idx(0x0C, {6}, big_endian(0xFFFFFFFF) + Bytes(20, '\0'))),
             "label -1 of sample 0"));
  CHECK(says(with(idx(0x0D, {6, 1, 1}, big_endian(0x7FC00000) + Bytes(20, '\0')), labels), "nan"));
  f.images = images;
  f.labels = labels;
  Options two_names;
  two_names.class_names = {"a", "b"};
  CHECK(says(f.convert(two_names), "label 2 of sample 2 is outside of 0 ... 1"));
  Options other_sum;
  other_sum.expected_md5 = "0";
  CHECK(says(f.convert(other_sum), "expected is md5:0"));
  CHECK_FALSE(fs::exists(f.out));
  fs::remove(f.sources.labels);
  CHECK(says(f.convert_as_is(), "No such file"));
  f.sources.images = f.folder.path();
  CHECK(says(f.convert_as_is(), "is a folder"));
}

TEST_CASE("damaged gzip is found") {
  IdxFixture f;
  f.images = idx(8, {100, 30, 20}, pattern(60000, 11));
  f.labels = idx(8, {100}, Bytes(100, '\0'));
  write_gzip(f.sources.images, f.images);
  write_file(f.sources.labels, f.labels);
  REQUIRE(f.convert_as_is() == "no error");
  fs::remove(f.out);
  std::ifstream in(f.sources.images, std::ios::binary);
  const Bytes good{std::istreambuf_iterator<char>(in), {}};
  write_file(f.sources.images, good.substr(0, good.size() / 2));
  CHECK(says(f.convert_as_is(), "cannot read on after"));
  write_file(f.sources.images, good.substr(0, good.size() - 4));
  CHECK(f.convert_as_is() != "no error");
  Bytes flipped = good;
  flipped[flipped.size() - 6] = static_cast<char>(flipped[flipped.size() - 6] ^ 1);  // the CRC
  write_file(f.sources.images, flipped);
  CHECK(says(f.convert_as_is(), "cannot read on after"));
  CHECK_FALSE(fs::exists(f.out));
}

TEST_CASE("an existing file is replaced only on demand, and kept when the conversion fails") {
  IdxFixture f;
  REQUIRE(f.convert() == "no error");
  CHECK(says(f.convert(), "exists already"));
  Options replace;
  replace.replace = true;
  f.images += "x";
  CHECK(says(f.convert(replace), "bytes are left"));
  CHECK(data::read_info(f.out).samples == 6);
  f.images = idx(8, {6, 1, 1}, pattern(6));
  CHECK(f.convert(replace) == "no error");
  CHECK(data::read_info(f.out).sample == core::Shape{1, 1, 1});
}

TEST_CASE("a full disk ends a conversion with one message and no rest") {
  IdxFixture f;
  f.images = idx(8, {1000, 28, 28}, pattern(784000));
  f.labels = idx(8, {1000}, Bytes(1000, '\1'));
  write_file(f.sources.images, f.images);
  write_file(f.sources.labels, f.labels);
  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  const rlimit small{200000, before.rlim_max};
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  setrlimit(RLIMIT_FSIZE, &small);
  const std::string cause = f.convert_as_is();
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  CHECK(says(cause, "File too large"));
  CHECK_FALSE(fs::exists(f.out));
  CHECK(f.convert_as_is() == "no error");
}

TEST_CASE("CIFAR-10 and CIFAR-100 records become [32, 32, 3] images") {
  const TemporaryFolder folder;
  const std::string out = folder.file("out.h5");
  Options options;
  options.replace = true;
  const auto record = [](const Bytes& labels, int salt) {
    Bytes r = labels;
    for (int i = 0; i < 3072; ++i) r += static_cast<char>((i / 4 + salt) % 256);
    return r;
  };
  for (int i = 1; i <= 5; ++i)
    write_file(folder.file("data_batch_" + std::to_string(i) + ".bin"),
               record(Bytes(1, static_cast<char>(i)), i) + record(Bytes(1, '\x09'), 0));
  CHECK(says(cause_of([&] { convert_cifar(Cifar::cifar10, folder.path(), "test", out, options); }),
             "test_batch.bin"));
  const Summary ten = convert_cifar(Cifar::cifar10, folder.path(), "train", out, options);
  CHECK(ten.samples == 10);
  CHECK(ten.class_names.at(1) == "automobile");
  CHECK(labels_of(out) == std::vector<int>{1, 9, 2, 9, 3, 9, 4, 9, 5, 9});
  const auto images = images_of(out);
  for (const int p : {0, 5, 1023}) {
    for (int c = 0; c < 3; ++c)  // the first image: plane c, pixel p
      CHECK(images[static_cast<std::size_t>(p * 3 + c)] == ((c * 1024 + p) / 4 + 1) % 256);
  }
  write_file(folder.file("train.bin"), record(Bytes("\1\x63", 2), 0));
  const Summary hundred = convert_cifar(Cifar::cifar100, folder.path(), "train", out, options);
  CHECK(hundred.classes == 100);
  CHECK(labels_of(out) == std::vector<int>{99});
  write_file(folder.file("fine_label_names.txt"), "apple\nbear\n");
  CHECK(
      says(cause_of([&] { convert_cifar(Cifar::cifar100, folder.path(), "train", out, options); }),
           "2 names for 100 classes"));
  write_file(folder.file("data_batch_3.bin"), record("\1", 0) + "x");
  CHECK(says(cause_of([&] { convert_cifar(Cifar::cifar10, folder.path(), "train", out, options); }),
             "no whole number"));
  write_file(folder.file("data_batch_3.bin"), record("\x0a", 0));
  CHECK(says(cause_of([&] { convert_cifar(Cifar::cifar10, folder.path(), "train", out, options); }),
             "label 10 of sample 4"));
  CHECK(data::read_info(out).classes == 100);  // the last good file stands
}

TEST_CASE("PNG folders: classes in sorted order, every pixel format") {
  const TemporaryFolder folder;
  const std::string out = folder.file("out.h5"), root = folder.file("images");
  fs::create_directories(root + "/b");
  fs::create_directories(root + "/a");
  fs::create_directories(root + "/.hidden");
  write_file(root + "/readme.txt", "not a class");
  write_file(root + "/a/notes.txt", "not an image");
  Options options;
  options.replace = true;
  const auto convert = [&] { return convert_png_folders(root, out, options); };
  CHECK(says(cause_of(convert), "holds no PNG image"));
  write_png(root + "/a/1.png", 2, 2, {1, PNG_COLOR_TYPE_GRAY}, Bytes("\x40\x80", 2));
  write_png(root + "/a/0.PNG", 2, 2, {8, PNG_COLOR_TYPE_GRAY}, Bytes("\1\2\3\4", 4));
  write_png(root + "/b/0.png", 2, 2, {16, PNG_COLOR_TYPE_GRAY},
            Bytes("\x10\x00\x10\xff\xff\xff\0\0", 8), true);
  write_png(root + "/b/1.png", 2, 2, {4, PNG_COLOR_TYPE_GRAY}, Bytes("\x0f\x10", 2));
  const Summary grey = convert();
  CHECK(grey.class_names == std::vector<std::string>{"a", "b"});
  CHECK(grey.sample == core::Shape{2, 2, 1});
  CHECK(labels_of(out) == std::vector<int>{0, 0, 1, 1});
  CHECK(images_of(out) ==
        std::vector<int>{1, 2, 3, 4, 0, 255, 255, 0, 16, 17, 255, 0, 0, 255, 17, 0});
  write_png(root + "/b/2.png", 2, 3, {8, PNG_COLOR_TYPE_GRAY}, pattern(6));
  CHECK(says(cause_of(convert), "b/2.png: the image is 3 x 2 with 1 channels"));
  write_png(root + "/b/2.png", 2, 2, {8, PNG_COLOR_TYPE_RGB}, pattern(12));
  CHECK(says(cause_of(convert), "with 3 channels"));
  write_file(root + "/b/2.png", "no png");
  CHECK(says(cause_of(convert), "cannot be read as a PNG image"));
  write_png(root + "/b/2.png", 2, 2, {8, PNG_COLOR_TYPE_GRAY}, pattern(4));
  fs::resize_file(root + "/b/2.png", 50);
  CHECK(says(cause_of(convert), "b/2.png: cannot be read"));
  CHECK(images_of(out).size() == 16);
  CHECK(
      says(cause_of([&] { convert_png_folders(folder.file("no"), out, options); }), "cannot list"));
}

TEST_CASE("PNG palettes and alpha channels") {
  const TemporaryFolder folder;
  const std::string out = folder.file("out.h5");
  fs::create_directories(folder.file("p/x"));
  write_png(folder.file("p/x/0.png"), 2, 2, {2, PNG_COLOR_TYPE_PALETTE}, Bytes("\x10\xb0", 2));
  write_png(folder.file("p/x/1.png"), 2, 2, {8, PNG_COLOR_TYPE_RGB}, pattern(12));
  convert_png_folders(folder.file("p"), out, {});
  const auto images = images_of(out);
  CHECK(std::vector<int>(images.begin(), images.begin() + 12) ==
        std::vector<int>{255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 8, 7});
  fs::create_directories(folder.file("q/x"));
  write_png(folder.file("q/x/0.png"), 1, 2, {8, PNG_COLOR_TYPE_RGBA}, pattern(8));
  CHECK(convert_png_folders(folder.file("q"), folder.file("q.h5"), {}).sample ==
        core::Shape{2, 1, 4});
}

TEST_CASE("published sets are recognised, and labels of another set refused") {
  const std::string folder = "/usr/share/datasets/fashion-mnist";
  if (!fs::exists(folder)) {
    WARN("skipped: no data (package dataset-fashion-mnist)");
    return;
  }
  const TemporaryFolder temporary;
  const IdxSources sources = find_idx(folder, "test");
  const Summary summary = convert_idx(sources, temporary.file("test.h5"), {});
  CHECK(summary.recognised == "Fashion-MNIST, test part");
  CHECK(summary.class_names.at(9) == "Ankle boot");
  CHECK(summary.digest == "2589de149ea70a51076dfb7116c581fbd9b4c7b39b8e9c9f19ec089d65d659b8");
  CHECK(says(
      cause_of([&] {
        convert_idx({sources.images, find_idx(folder, "train").labels}, temporary.file("x.h5"), {});
      }),
      "60000 labels for 10000 images"));
}
