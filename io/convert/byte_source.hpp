// SPDX-License-Identifier: MIT
// Private to io/convert: a file read from front to back, gzip or plain, with its checksum taken on
// the way.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "io/data/digest.hpp"

namespace isaribi::convert {

class ByteSource {
 public:
  /// @throws DataError when it cannot be opened.
  explicit ByteSource(std::string path);
  ~ByteSource();

  /// Up to `count` bytes into `out`; less only at the end. @throws DataError: damaged gzip.
  std::size_t read_some(void* out, std::size_t count);
  /// Exactly `count` bytes. @throws DataError "truncated: ..." naming `what`.
  void read(void* out, std::size_t count, const std::string& what);
  /// @throws DataError when bytes are left.
  void expect_end();

  /// The most bytes this file can hold uncompressed: guards against absurd sizes in a header.
  std::uint64_t most_bytes() const;
  const std::string& path() const { return path_; }
  /// "md5:<hex>" of all bytes read; ends the checksum.
  std::string checksum();

 private:
  std::string path_;
  void* file_;  ///< gzFile
  bool compressed_ = false;
  std::uint64_t file_bytes_ = 0, done_ = 0;
  data::Digest digest_{data::Digest::Kind::md5};
};

}  // namespace isaribi::convert
