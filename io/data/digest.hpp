// SPDX-License-Identifier: MIT
// Checksums of files and data sets: SHA-256 for what we write, MD5 for what others publish.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

namespace isaribi::data {

/// A running checksum.
class Digest {
 public:
  enum class Kind { sha256, md5 };
  explicit Digest(Kind kind = Kind::sha256);
  Digest(Digest&&) noexcept;
  Digest& operator=(Digest&&) noexcept;
  ~Digest();

  void add(const void* bytes, std::size_t count);
  /// The checksum in lower-case hexadecimal; ends this digest.
  std::string hex();

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

}  // namespace isaribi::data
