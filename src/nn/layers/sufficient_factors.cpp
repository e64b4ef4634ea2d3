// SPDX-License-Identifier: MIT
#include "nn/layers/sufficient_factors.hpp"

#include "comm/owner_exchange.hpp"
#include "comm/rank_slice.hpp"

namespace isaribi::nn::layers {
namespace {

/// Of this rank and of the one with the most: samples, rows.
std::int64_t own(std::int64_t size, const Sharding& s) {
  const auto [begin, end] = comm::rank_slice(size, s.rank, s.ranks);
  return end - begin;
}
std::int64_t most(std::int64_t size, int ranks) {
  return (size + ranks - 1) / ranks;
}

core::Tensor as_bytes(const core::Tensor& t) {
  return core::Tensor::borrow(t.raw(), {static_cast<std::int64_t>(t.bytes())}, core::DType::u8);
}

}  // namespace

std::int64_t SufficientFactors::elements(const Sharding& sharding, std::int64_t inputs,
                                         std::int64_t outputs) {
  return sharding.batch * (inputs + own(outputs, sharding)) +
         most(sharding.batch, sharding.ranks) * outputs;
}

std::size_t SufficientFactors::shared_bytes(const Sharding& sharding, std::int64_t inputs,
                                            std::int64_t outputs, std::size_t width) {
  const auto bytes = [&](std::int64_t n) {
    return comm::NodeMemory::bytes_of(static_cast<std::size_t>(sharding.batch * n) * width);
  };
  return bytes(inputs) + bytes(outputs);
}

void SufficientFactors::prepare(api::Backend& backend, const Sharding& sharding,
                                std::int64_t inputs, std::int64_t outputs, core::DType type) {
  shards_ = sharding.of(outputs);
  if (sharding.node != nullptr && sharding.node->one_node()) {
    node_ = sharding.node;
    x_ = core::Tensor({sharding.batch, inputs}, type, *node_);
    dy_ = core::Tensor({sharding.batch, outputs}, type, *node_);
    return;
  }
  x_ = backend.make({sharding.batch, inputs}, type);
  dy_ = backend.make({sharding.batch, own(outputs, sharding)}, type);
  send_ = backend.make({most(sharding.batch, sharding.ranks), outputs}, type);
}

std::pair<std::int64_t, std::int64_t> SufficientFactors::samples(const Pass& pass, int r) {
  return comm::rank_slice(pass.global_batch, r, pass.comm->size());
}

// [largest batch, rows of the owner]
core::Tensor SufficientFactors::dy_of(int owner) const {
  const std::int64_t batch = x_.shape()[0];
  if (node_ == nullptr) return dy_;
  return dy_.slice(batch * shards_.cuts[static_cast<std::size_t>(owner)],
                   {batch, shards_.rows(owner)});
}

void SufficientFactors::start_inputs(const Pass& pass, const core::Tensor& x) {
  const std::int64_t most_samples = x_.shape()[0], inputs = x_.shape()[1];
  if (pass.comm == nullptr || pass.comm->size() != ranks() || pass.comm->rank() != shards_.rank ||
      pass.global_batch > most_samples)
    throw core::InternalError("a pass that does not fit the shards of its graph");
  const auto timed = pass.time_exchange();
  current_ = {x_.rows(0, pass.global_batch), dy_of(shards_.rank).rows(0, pass.global_batch)};
  if (node_ != nullptr) {
    if (node_->fences() == finished_) node_->fence();  // or others might read the last ones
    const auto [begin, end] = samples(pass, shards_.rank);
    pass.backend->copy(x, x_.rows(begin, end));
    return;
  }
  std::vector<std::int64_t> counts;
  for (int r = 0; r < ranks(); ++r) {
    const auto [begin, end] = samples(pass, r);
    counts.push_back((end - begin) * inputs);
  }
  x_request_ = comm::start_all_gather_along(pass.route, *pass.comm, x, counts, current_.x);
}

void SufficientFactors::start_gradients(const Pass& pass, const core::Tensor& dy) {
  node_ != nullptr ? write_gradients(pass, dy) : send_gradients(pass, dy);
}

void SufficientFactors::write_gradients(const Pass& pass, const core::Tensor& dy) {
  const auto [begin, end] = samples(pass, shards_.rank);
  std::vector<core::Tensor> columns;  // of dy, where their owners read them
  for (int r = 0; r < ranks(); ++r) columns.push_back(dy_of(r).rows(begin, end));
  const auto timed = pass.time_exchange();
  pass.backend->elementwise().split({.x = dy, .parts = columns});
  pass.backend->synchronize();
}

void SufficientFactors::send_gradients(const Pass& pass, const core::Tensor& dy) {
  const std::int64_t n = dy.shape()[0], rows = shards_.rows(shards_.rank);
  const auto width = static_cast<std::int64_t>(core::size_of(dy.dtype()));
  std::vector<std::int64_t> send_bytes, receive_bytes;
  std::vector<core::Tensor> columns;  // of dy, by their owners
  std::int64_t at = 0;
  for (int r = 0; r < ranks(); ++r) {
    const auto [begin, end] = samples(pass, r);
    receive_bytes.push_back((end - begin) * rows * width);
    columns.push_back(send_.slice(at, {n, shards_.rows(r)}));
    send_bytes.push_back(n * shards_.rows(r) * width);
    at += n * shards_.rows(r);
  }
  pass.backend->elementwise().split({.x = dy, .parts = columns});
  pass.backend->synchronize();
  const auto timed = pass.time_exchange();
  dy_request_ = pass.comm->start_all_to_all_v(as_bytes(send_.slice(0, dy.shape())), send_bytes,
                                              as_bytes(current_.dy), receive_bytes);
}

SufficientFactors::Factors SufficientFactors::finish(const Pass& pass) {
  const auto timed = pass.time_exchange();
  if (node_ != nullptr) {
    node_->fence();
    finished_ = node_->fences();
    return current_;
  }
  x_request_.wait();
  dy_request_.wait();
  return current_;
}

}  // namespace isaribi::nn::layers
