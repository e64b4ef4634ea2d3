// SPDX-License-Identifier: MIT
#include "comm/communicator.hpp"

#include <algorithm>
#include <cstring>
#include <exception>
#include <numeric>

namespace isaribi::comm {
void check_parts(std::string_view call, const Communicator& comm, const core::Tensor& all,
                 std::span<const std::int64_t> counts, const core::Tensor& mine) {
  const auto host = [](const core::Tensor& t) {
    return t.device().kind == core::Device::Kind::host;
  };
  const auto require = [&](bool good, const std::string& what) {
    if (!good) throw core::InternalError(std::string(call) + ": " + what);
  };
  require(counts.size() == static_cast<std::size_t>(comm.size()),
          std::to_string(counts.size()) + " counts for " + std::to_string(comm.size()) + " ranks");
  require(std::all_of(counts.begin(), counts.end(), [](std::int64_t n) { return n >= 0; }),
          "a count is negative");
  const auto rank = static_cast<std::size_t>(comm.rank());
  const std::int64_t total = std::accumulate(counts.begin(), counts.end(), std::int64_t{0});
  require(total == all.count(), "counts add up to " + std::to_string(total) + ", the tensor has " +
                                    std::to_string(all.count()) + " elements");
  require(counts[rank] == mine.count(), "the part of this rank has " +
                                            std::to_string(mine.count()) + " elements, not " +
                                            std::to_string(counts[rank]));
  const bool known = all.dtype() == core::DType::f32 || all.dtype() == core::DType::f64 ||
                     all.dtype() == core::DType::i32;
  require(all.dtype() == mine.dtype() && known, "tensors must be both f32, both f64 or both i32");
  require(host(all) && host(mine), "device memory: copy it to the host first");
}

double Traffic::on_wire(int ranks) const {
  if (ranks <= 1) return 0.0;
  const double share = (ranks - 1.0) / ranks;
  return share * (2.0 * static_cast<double>(all_reduce) + static_cast<double>(reduce_scatter) +
                  static_cast<double>(all_gather)) +
         static_cast<double>(broadcast);
}

Traffic Traffic::operator-(const Traffic& before) const {
  return {all_reduce - before.all_reduce, reduce_scatter - before.reduce_scatter,
          all_gather - before.all_gather, broadcast - before.broadcast};
}

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

std::unique_lock<std::recursive_mutex> Communicator::sole_caller() {
  std::recursive_mutex* mutex = calls();
  return mutex == nullptr ? std::unique_lock<std::recursive_mutex>()
                          : std::unique_lock<std::recursive_mutex>(*mutex);
}

std::int64_t Communicator::all_reduce(std::int64_t value, ReduceOp op) {
  all_reduce(std::span<std::int64_t>(&value, 1), op);
  return value;
}

double Communicator::all_reduce(double value, ReduceOp op) {
  all_reduce(core::Tensor::borrow(&value, {1}, core::DType::f64), op);
  return value;
}

Request Communicator::start_reduce_scatter_v(core::Tensor all, std::span<const std::int64_t> counts,
                                             core::Tensor mine) {
  check_parts("reduce_scatter_v", *this, all, counts, mine);
  traffic_.reduce_scatter += static_cast<std::int64_t>(all.bytes());
  return do_start_reduce_scatter_v(std::move(all), {counts.begin(), counts.end()}, std::move(mine));
}

void Communicator::reduce_scatter_v(core::Tensor all, std::span<const std::int64_t> counts,
                                    core::Tensor mine) {
  start_reduce_scatter_v(std::move(all), counts, std::move(mine)).wait();
}

Request Communicator::start_all_gather_v(core::Tensor mine, std::span<const std::int64_t> counts,
                                         core::Tensor all) {
  check_parts("all_gather_v", *this, all, counts, mine);
  traffic_.all_gather += static_cast<std::int64_t>(all.bytes());
  return do_start_all_gather_v(std::move(mine), {counts.begin(), counts.end()}, std::move(all));
}

void Communicator::all_gather_v(core::Tensor mine, std::span<const std::int64_t> counts,
                                core::Tensor all) {
  start_all_gather_v(std::move(mine), counts, std::move(all)).wait();
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
