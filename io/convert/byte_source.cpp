// SPDX-License-Identifier: MIT
#include "io/convert/byte_source.hpp"

#include <fmt/format.h>
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "core/error.hpp"

namespace isaribi::convert {
namespace {

gzFile gz(void* file) {
  return static_cast<gzFile>(file);
}

}  // namespace

ByteSource::ByteSource(std::string path) : path_(std::move(path)) {
  std::error_code error;
  if (std::filesystem::is_directory(path_, error))
    throw core::DataError(path_, "is a folder", "name a file");
  file_ = gzopen(path_.c_str(), "rb");
  if (file_ == nullptr)
    throw core::DataError(path_, std::string("cannot open: ") + std::strerror(errno),
                          "check the path");
  gzbuffer(gz(file_), 256 << 10);
  file_bytes_ = std::filesystem::file_size(path_, error);
  compressed_ = gzdirect(gz(file_)) == 0;
}

ByteSource::~ByteSource() {
  gzclose(gz(file_));
}

std::size_t ByteSource::read_some(void* out, std::size_t count) {
  std::size_t got = 0;
  while (got < count) {
    const auto piece = static_cast<unsigned>(std::min<std::size_t>(count - got, 1 << 30));
    const int n = gzread(gz(file_), static_cast<char*>(out) + got, piece);
    int code = Z_OK;
    const char* text = gzerror(gz(file_), &code);
    // Z_BUF_ERROR: the compressed stream ends too early.
    if (n < 0 || (code != Z_OK && code != Z_STREAM_END)) {
      const std::string cause = code == Z_ERRNO ? std::strerror(errno) : text;
      throw core::DataError(path_,
                            fmt::format("cannot read on after {} bytes: {}", done_ + got, cause),
                            "the file is damaged or cut short: fetch it again");
    }
    if (n == 0) break;
    got += static_cast<std::size_t>(n);
  }
  digest_.add(out, got);
  done_ += got;
  return got;
}

void ByteSource::read(void* out, std::size_t count, const std::string& what) {
  const std::uint64_t before = done_;
  const std::size_t got = read_some(out, count);
  if (got == count) return;
  throw core::DataError(path_,
                        fmt::format("truncated in {}: {} bytes wanted at offset {}, {} are there",
                                    what, count, before, got),
                        "fetch the file again and compare its checksum");
}

void ByteSource::expect_end() {
  char byte = 0;
  if (read_some(&byte, 1) == 0) return;
  throw core::DataError(
      path_, fmt::format("bytes are left after the {} that its header announces", done_ - 1),
      "this is another file than it seems, or a damaged one: fetch it again");
}

std::uint64_t ByteSource::most_bytes() const {
  return compressed_ ? file_bytes_ * 1032 : file_bytes_;  // deflate gains at most 1032 : 1
}

std::string ByteSource::checksum() {
  return "md5:" + digest_.hex();
}

}  // namespace isaribi::convert
