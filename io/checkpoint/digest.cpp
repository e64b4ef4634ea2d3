// SPDX-License-Identifier: MIT
// Digests, differences and restoring: what can be said about two states without a file.
#include <fmt/format.h>
#include <openssl/evp.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>

#include "core/error.hpp"
#include "io/checkpoint/checkpoint.hpp"

namespace isaribi::checkpoint {
namespace {

/// SHA-256 of a sequence of length-prefixed fields: no two different sequences give the same byte
/// stream.
class Sha256 {
 public:
  Sha256() : context_(EVP_MD_CTX_new(), &EVP_MD_CTX_free) {
    if (!context_ || EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) != 1) {
      throw core::InternalError("OpenSSL offers no SHA-256");
    }
  }
  void field(const void* data, std::size_t bytes) {
    const std::uint64_t length = bytes;
    EVP_DigestUpdate(context_.get(), &length, sizeof length);
    EVP_DigestUpdate(context_.get(), data, bytes);
  }
  void field(std::string_view text) { field(text.data(), text.size()); }
  std::string hex() {
    unsigned char bytes[EVP_MAX_MD_SIZE];
    unsigned int size = 0;
    EVP_DigestFinal_ex(context_.get(), bytes, &size);
    std::string out;
    for (unsigned int i = 0; i < size; ++i) out += fmt::format("{:02x}", bytes[i]);
    return out;
  }

 private:
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context_;
};

bool is_weight(const std::string& name) {
  return name.starts_with("weights/");
}

std::vector<const core::NamedTensor*> sorted(const std::vector<core::NamedTensor>& tensors) {
  std::vector<const core::NamedTensor*> out;
  for (const core::NamedTensor& t : tensors) out.push_back(&t);
  std::sort(out.begin(), out.end(), [](auto* a, auto* b) { return a->name < b->name; });
  return out;
}

std::string text(const Value& value) {
  return std::visit(
      [](const auto& v) {
        using T = std::decay_t<decltype(v)>;
        if constexpr (std::is_same_v<T, std::string>) {
          return "\"" + v + "\"";
        } else {
          return fmt::format("{}", v);  // shortest text that reads back to the same double
        }
      },
      value);
}

std::string describe(const core::Tensor& t) {
  return std::string(core::name_of(t.dtype())) + t.shape().text();
}

double element(const core::Tensor& t, std::int64_t i) {
  switch (t.dtype()) {
    case core::DType::f64:
      return t.data<double>()[i];
    case core::DType::f32:
      return t.data<float>()[i];
    case core::DType::f16:
      return static_cast<float>(t.data<core::Half>()[i]);
    case core::DType::bf16:
      return static_cast<float>(t.data<core::BFloat16>()[i]);
    case core::DType::i8:
      return t.data<std::int8_t>()[i];
    case core::DType::u8:
      return t.data<std::uint8_t>()[i];
    case core::DType::i32:
      return t.data<std::int32_t>()[i];
  }
  return 0;
}

void compare(const core::NamedTensor& a, const core::NamedTensor& b,
             std::vector<std::string>& out) {
  if (a.tensor.dtype() != b.tensor.dtype() || a.tensor.shape() != b.tensor.shape()) {
    out.push_back(fmt::format("{}: {} | {}", a.name, describe(a.tensor), describe(b.tensor)));
    return;
  }
  if (std::memcmp(a.tensor.raw(), b.tensor.raw(), a.tensor.bytes()) == 0) return;
  std::int64_t count = 0;
  double largest = 0, scale = 0;
  for (std::int64_t i = 0; i < a.tensor.count(); ++i) {
    const double x = element(a.tensor, i), y = element(b.tensor, i);
    scale = std::max({scale, std::abs(x), std::abs(y)});
    if (x != y) {
      ++count;
      largest = std::max(largest, std::abs(x - y));
    }
  }
  out.push_back(fmt::format("{}: {} of {} values differ, by at most {:.3g} (largest value {:.3g})",
                            a.name, count, a.tensor.count(), largest, scale));
}

}  // namespace

std::string digest(const State& state, bool all) {
  Sha256 hash;
  for (const core::NamedTensor* t : sorted(state.tensors)) {
    if (!all && !is_weight(t->name)) continue;
    hash.field(t->name);
    hash.field(describe(t->tensor));
    hash.field(t->tensor.raw(), t->tensor.bytes());
  }
  if (all) {
    for (const auto& [name, value] : state.values) {
      hash.field(name);
      hash.field(text(value));
    }
  }
  return hash.hex();
}

std::vector<std::string> differences(const State& a, const State& b) {
  std::vector<std::string> out;
  const auto left = sorted(a.tensors), right = sorted(b.tensors);
  std::size_t i = 0, j = 0;
  while (i < left.size() || j < right.size()) {
    if (j == right.size() || (i < left.size() && left[i]->name < right[j]->name)) {
      out.push_back(left[i++]->name + ": only in the first");
    } else if (i == left.size() || right[j]->name < left[i]->name) {
      out.push_back(right[j++]->name + ": only in the second");
    } else {
      compare(*left[i++], *right[j++], out);
    }
  }
  auto values = a.values;
  values.insert(b.values.begin(), b.values.end());
  for (const auto& [name, unused] : values) {
    const auto x = a.values.find(name), y = b.values.find(name);
    const std::string xs = x == a.values.end() ? "absent" : text(x->second);
    const std::string ys = y == b.values.end() ? "absent" : text(y->second);
    if (xs != ys) out.push_back(name + ": " + xs + " | " + ys);
  }
  return out;
}

void restore(const State& state, const std::string& prefix,
             const std::vector<core::NamedTensor>& targets, const std::string& file) {
  std::map<std::string, const core::Tensor*> stored;
  for (const core::NamedTensor& t : state.tensors) {
    if (t.name.starts_with(prefix)) stored[t.name.substr(prefix.size())] = &t.tensor;
  }
  const std::string hint =
      "the checkpoint belongs to another model or optimizer: use its own deck, or another run/dir";
  for (const core::NamedTensor& target : targets) {
    const auto it = stored.find(target.name);
    if (it == stored.end())
      throw core::DataError(file, "tensor " + prefix + target.name + " is missing", hint);
    const core::Tensor& source = *it->second;
    if (source.shape() != target.tensor.shape() || source.dtype() != target.tensor.dtype()) {
      throw core::DataError(file,
                            fmt::format("tensor {}{} is {}, the run needs {}", prefix, target.name,
                                        describe(source), describe(target.tensor)),
                            hint);
    }
    std::memcpy(target.tensor.raw(), source.raw(), source.bytes());
    stored.erase(it);
  }
  if (!stored.empty()) {
    throw core::DataError(
        file, "tensor " + prefix + stored.begin()->first + " has no place in this run", hint);
  }
}

}  // namespace isaribi::checkpoint
