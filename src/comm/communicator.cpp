// SPDX-License-Identifier: MIT
#include "comm/communicator.hpp"

#include <algorithm>
#include <cstring>
#include <exception>

namespace isaribi::comm {

Request& Request::operator=(Request&& other) noexcept {
  if (this != &other) {
    finish();
    pending_ = std::move(other.pending_);
  }
  return *this;
}

Request::~Request() {
  finish();
}

void Request::finish() noexcept {
  if (!pending_) return;
  if (std::uncaught_exceptions() > 0) {
    // The library may still write to the memory; it is kept until the job, which is about to end,
    // ends.
    static_cast<void>(pending_.release());
    return;
  }
  try {
    pending_->wait();
  } catch (...) {
    // A destructor cannot report it; the next communication on this group fails as well and does.
    static_cast<void>(pending_.release());
  }
  pending_.reset();
}

bool Request::test() {
  if (pending_ && pending_->test()) pending_.reset();
  return !pending_;
}

void Request::wait() {
  if (!pending_) return;
  pending_->wait();
  pending_.reset();
}

std::int64_t Communicator::all_reduce(std::int64_t value, ReduceOp op) {
  all_reduce(std::span<std::int64_t>(&value, 1), op);
  return value;
}

double Communicator::all_reduce(double value, ReduceOp op) {
  all_reduce(core::Tensor::borrow(&value, {1}, core::DType::f64), op);
  return value;
}

std::vector<std::string> Communicator::all_gather_strings(const std::string& mine) {
  // Padded to the longest: two simple operations, and such strings are short.
  const auto length = static_cast<std::int64_t>(mine.size());
  std::vector<std::int64_t> lengths(static_cast<std::size_t>(size()));
  all_gather(std::as_bytes(std::span(&length, 1)), std::as_writable_bytes(std::span(lengths)));
  const auto longest = static_cast<std::size_t>(*std::max_element(lengths.begin(), lengths.end()));
  std::vector<char> padded(longest), all(longest * lengths.size());
  std::copy(mine.begin(), mine.end(), padded.begin());
  all_gather(std::as_bytes(std::span(padded)), std::as_writable_bytes(std::span(all)));
  std::vector<std::string> result;
  for (std::size_t r = 0; r < lengths.size(); ++r) {
    result.emplace_back(all.data() + r * longest, static_cast<std::size_t>(lengths[r]));
  }
  return result;
}

std::string Communicator::broadcast_string(const std::string& mine, int root) {
  auto length = static_cast<std::uint64_t>(mine.size());
  broadcast(std::as_writable_bytes(std::span(&length, 1)), root);
  std::string text = rank() == root ? mine : std::string(length, '\0');
  broadcast(std::as_writable_bytes(std::span(text.data(), text.size())), root);
  return text;
}

}  // namespace isaribi::comm
