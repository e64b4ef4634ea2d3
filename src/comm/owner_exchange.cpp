// SPDX-License-Identifier: MIT
#include "comm/owner_exchange.hpp"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <utility>

#include "comm/allreduce/sums.hpp"
#include "core/timer.hpp"

namespace isaribi::comm {
namespace {

using core::DType;

constexpr std::int64_t kWord = 4;     // f32 and f64 travel as words of this many bytes, unchanged
constexpr std::int64_t kBlock = 512;  // elements
constexpr std::size_t kDefaultBucket = std::size_t{1} << 20;

std::byte* bytes_of(const core::Tensor& t) {
  return static_cast<std::byte*>(t.raw());
}

/// Adds `count` elements that came as `wire` to sums in f64.
void add_wire(const core::SumKernels& kernels, DType wire, const std::byte* from, double* sum,
              std::int64_t count) {
  if (wire == DType::f64) return kernels.add(sum, from, count);
  double wide[kBlock];
  for (std::int64_t i = 0; i < count; i += kBlock) {
    const std::int64_t n = std::min(kBlock, count - i);
    kernels.widen(from + i * static_cast<std::int64_t>(core::size_of(wire)), wide, n);
    kernels.add(sum + i, wide, n);
  }
}

OwnerRoute* serving(OwnerRoute* route, const Communicator& comm) {
  return route != nullptr && route->ranks() == comm.size() ? route : nullptr;
}

}  // namespace

OwnerReducer::OwnerReducer(Communicator& comm, std::size_t bucket_bytes, OwnerRoute* route)
    : comm_(comm), bucket_bytes_(bucket_bytes), route_(serving(route, comm)) {}

void OwnerReducer::add(const core::Tensor& tensor, int owner, core::DType wire) {
  if (comm_.size() == 1) return;
  waiting_.push_back({tensor, owner, wire});
  waiting_bytes_ += static_cast<std::size_t>(tensor.count()) * core::size_of(wire);
  if (waiting_bytes_ >= bucket_bytes_) flush();
  progress();
}

void OwnerReducer::flush() {
  if (waiting_.empty()) return;
  waiting_bytes_ = 0;
  const auto ranks = static_cast<std::size_t>(comm_.size());
  Bucket bucket;
  bucket.items = split_for_route();
  if (bucket.items.empty()) return;
  bucket.send_bytes.assign(ranks, 0);
  for (const Item& item : bucket.items) {
    bucket.send_bytes[static_cast<std::size_t>(item.owner)] +=
        item.tensor.count() * static_cast<std::int64_t>(core::size_of(item.wire));
  }
  const auto me = static_cast<std::size_t>(comm_.rank());
  bucket.receive_bytes.assign(ranks, bucket.send_bytes[me]);
  std::int64_t total = 0;
  std::vector<std::int64_t> offset;
  for (std::size_t r = 0; r < ranks; ++r) {
    offset.push_back(total);
    total += bucket.send_bytes[r];
    if (r != me) bytes_sent_ += bucket.send_bytes[r];
  }
  bucket.send = core::Tensor({total}, core::DType::u8);
  bucket.receive =
      core::Tensor({bucket.send_bytes[me] * static_cast<std::int64_t>(ranks)}, core::DType::u8);
  for (const Item& item : bucket.items) {
    std::int64_t& at = offset[static_cast<std::size_t>(item.owner)];
    sum_kernels(item.tensor.dtype(), item.wire, comm_.kernels())
        .narrow(item.tensor.raw(), bytes_of(bucket.send) + at, item.tensor.count());
    at += item.tensor.count() * static_cast<std::int64_t>(core::size_of(item.wire));
  }
  bucket.request = comm_.start_all_to_all_v(bucket.send, bucket.send_bytes, bucket.receive,
                                            bucket.receive_bytes);
  under_way_.push_back(std::move(bucket));
}

// Takes what waits; a type of payload with which the route can do nothing is given back.
std::vector<OwnerReducer::Item> OwnerReducer::split_for_route() {
  std::vector<Item> waiting = std::exchange(waiting_, {});
  if (route_ == nullptr) return waiting;
  std::vector<Item> rest;
  for (const DType wire : {DType::f64, DType::f32, DType::bf16, DType::f16}) {
    std::vector<Item> items;
    std::int64_t bytes = 0;
    for (const Item& item : waiting) {
      if (item.wire != wire) continue;
      items.push_back(item);
      bytes += item.tensor.count() * static_cast<std::int64_t>(core::size_of(wire));
    }
    if (bytes > 0 && route_->sums(bytes)) {
      send_along(std::move(items));
    } else {
      rest.insert(rest.end(), items.begin(), items.end());
    }
  }
  return rest;
}

void OwnerReducer::send_along(std::vector<Item> items) {
  const auto me = static_cast<std::size_t>(comm_.rank());
  const DType wire = items.front().wire;
  std::vector<std::int64_t> counts(static_cast<std::size_t>(comm_.size()), 0);
  for (const Item& item : items)
    counts[static_cast<std::size_t>(item.owner)] += item.tensor.count();
  std::vector<std::int64_t> at(counts.size(), 0);
  std::exclusive_scan(counts.begin(), counts.end(), at.begin(), std::int64_t{0});
  const std::int64_t total = at.back() + counts.back();
  const core::Tensor all({total}, DType::f64);
  const core::Tensor mine = all.slice(at[me], {counts[me]});
  for (const Item& item : items) {
    std::int64_t& place = at[static_cast<std::size_t>(item.owner)];
    sum_kernels(DType::f64, item.tensor.dtype(), comm_.kernels())
        .widen(item.tensor.raw(), all.data<double>() + place, item.tensor.count());
    place += item.tensor.count();
  }
  bytes_sent_ += (total - counts[me]) * static_cast<std::int64_t>(core::size_of(wire));
  Request request = route_->start_sums(all, counts, mine, wire);
  along_route_.push_back({std::move(items), mine, std::move(request)});
}

void OwnerReducer::progress() {
  for (Bucket& bucket : under_way_) bucket.request.test();
  for (RoutedBucket& bucket : along_route_) bucket.request.test();
}

void OwnerReducer::write(const double* sum, const core::Tensor& to) const {
  sum_kernels(DType::f64, to.dtype(), comm_.kernels()).narrow(sum, to.raw(), to.count());
}

// The parts of all ranks in rank order.
void OwnerReducer::add_up(const Bucket& bucket) const {
  const int me = comm_.rank();
  const std::int64_t mine = bucket.send_bytes[static_cast<std::size_t>(me)];
  std::int64_t at = 0;
  std::vector<double> sum;
  for (const Item& item : bucket.items) {
    if (item.owner != me) continue;
    sum.assign(static_cast<std::size_t>(item.tensor.count()), 0.0);
    for (int r = 0; r < comm_.size(); ++r)
      add_wire(sum_kernels(DType::f64, item.wire, comm_.kernels()), item.wire,
               bytes_of(bucket.receive) + r * mine + at, sum.data(), item.tensor.count());
    write(sum.data(), item.tensor);
    at += item.tensor.count() * static_cast<std::int64_t>(core::size_of(item.wire));
  }
}

void OwnerReducer::finish() {
  flush();
  for (Bucket& bucket : under_way_) {
    bucket.request.wait();
    add_up(bucket);
  }
  under_way_.clear();
  for (RoutedBucket& bucket : along_route_) {
    bucket.request.wait();
    const double* sum = bucket.mine.data<double>();
    for (const Item& item : bucket.items) {
      if (item.owner != comm_.rank()) continue;
      write(sum, item.tensor);
      sum += item.tensor.count();
    }
  }
  along_route_.clear();
}

ScatterReducer::ScatterReducer(Communicator& comm, core::Tensor gradients,
                               std::vector<Range> ranges, std::size_t bucket_bytes,
                               OwnerRoute* route)
    : reducer_(comm, bucket_bytes > 0 ? bucket_bytes : kDefaultBucket, route),
      gradients_(std::move(gradients)),
      ranges_(std::move(ranges)) {
  std::int64_t end = 0;
  for (const Range& range : ranges_) {
    if (range.begin != end) throw core::InternalError("ScatterReducer: ranges with gaps");
    end = range.end;
  }
  if (end != gradients_.count())
    throw core::InternalError("ScatterReducer: ranges do not cover the gradients");
}

void ScatterReducer::ready(std::int64_t, std::int64_t end) {
  const std::int64_t sent = reducer_.bytes_sent();
  for (; next_ < ranges_.size() && ranges_[next_].end <= end; ++next_) {
    const Range& range = ranges_[next_];
    reducer_.add(gradients_.slice(range.begin, {range.end - range.begin}), range.owner,
                 gradients_.dtype());
  }
  stats_.bytes += reducer_.bytes_sent() - sent;
}

void ScatterReducer::finish() {
  const double start = core::now_seconds();
  ready(0, gradients_.count());
  const std::int64_t before = reducer_.bytes_sent();
  reducer_.finish();
  stats_.bytes += reducer_.bytes_sent() - before;
  stats_.exposed_seconds += core::now_seconds() - start;
  ++stats_.steps;
  next_ = 0;
}

Request start_all_gather_along(OwnerRoute* route, Communicator& comm, core::Tensor mine,
                               std::span<const std::int64_t> counts, core::Tensor all) {
  const auto bytes = static_cast<std::int64_t>(all.bytes());
  if (serving(route, comm) == nullptr || !route->copies(bytes))
    return comm.start_all_gather_v(std::move(mine), counts, std::move(all));
  const auto words_of = [](const core::Tensor& t) {
    return core::Tensor::borrow(t.raw(), {static_cast<std::int64_t>(t.bytes()) / kWord},
                                DType::i32);
  };
  std::vector<std::int64_t> words(counts.begin(), counts.end());
  for (std::int64_t& n : words) n *= static_cast<std::int64_t>(core::size_of(all.dtype())) / kWord;
  return route->start_copies(words_of(mine), words, words_of(all));
}

std::int64_t share_owned(Communicator& comm, const std::vector<Owned>& tensors, OwnerRoute* route) {
  if (comm.size() == 1) return 0;
  std::vector<std::int64_t> bytes(static_cast<std::size_t>(comm.size()), 0);
  for (const Owned& o : tensors)
    bytes[static_cast<std::size_t>(o.owner)] += static_cast<std::int64_t>(o.tensor.bytes());
  std::int64_t total = 0;
  std::vector<std::int64_t> offset;
  for (const std::int64_t b : bytes) {
    offset.push_back(total);
    total += b;
  }
  const core::Tensor all({total / kWord}, DType::i32);
  const auto each = [&](auto&& use) {
    std::vector<std::int64_t> at = offset;
    for (const Owned& o : tensors) {
      std::int64_t& place = at[static_cast<std::size_t>(o.owner)];
      if (o.tensor.bytes() > 0) use(o, bytes_of(all) + place);
      place += static_cast<std::int64_t>(o.tensor.bytes());
    }
  };
  const int me = comm.rank();
  each([&](const Owned& o, std::byte* at) {
    if (o.owner == me) std::memcpy(at, o.tensor.raw(), o.tensor.bytes());
  });
  std::vector<std::int64_t> words;
  for (const std::int64_t b : bytes) words.push_back(b / kWord);
  const auto mine = static_cast<std::size_t>(comm.rank());
  const core::Tensor part = all.slice(offset[mine] / kWord, {words[mine]});
  start_all_gather_along(route, comm, part, words, all).wait();
  each([&](const Owned& o, std::byte* at) {
    if (o.owner != me) std::memcpy(o.tensor.raw(), at, o.tensor.bytes());
  });
  return bytes[static_cast<std::size_t>(me)] * (comm.size() - 1);
}

}  // namespace isaribi::comm
