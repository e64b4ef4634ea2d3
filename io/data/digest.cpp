// SPDX-License-Identifier: MIT
#include "io/data/digest.hpp"

#include <fmt/format.h>
#include <openssl/evp.h>

#include "core/error.hpp"

namespace isaribi::data {

struct Digest::Context {
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> evp{EVP_MD_CTX_new(), &EVP_MD_CTX_free};
};

Digest::Digest(Kind kind) : context_(std::make_unique<Context>()) {
  const EVP_MD* type = kind == Kind::sha256 ? EVP_sha256() : EVP_md5();
  if (!context_->evp || EVP_DigestInit_ex(context_->evp.get(), type, nullptr) != 1) {
    throw core::InternalError("OpenSSL refuses a checksum (MD5 under FIPS rules, perhaps)");
  }
}
Digest::Digest(Digest&&) noexcept = default;
Digest& Digest::operator=(Digest&&) noexcept = default;
Digest::~Digest() = default;

void Digest::add(const void* bytes, std::size_t count) {
  EVP_DigestUpdate(context_->evp.get(), bytes, count);
}

std::string Digest::hex() {
  unsigned char bytes[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  EVP_DigestFinal_ex(context_->evp.get(), bytes, &size);
  std::string out;
  for (unsigned int i = 0; i < size; ++i) out += fmt::format("{:02x}", bytes[i]);
  return out;
}

}  // namespace isaribi::data
