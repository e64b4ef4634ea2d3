// SPDX-License-Identifier: MIT
// Sums that only one rank needs, and results that only one rank has. Tensors are packed into
// buckets; a bucket of sums leaves as one reduce-scatter-v as soon as it is full, while the
// computation goes on. Without a route (owner_route.hpp) that is a direct exchange, P - 1 messages
// of what each owner needs, n (P - 1) / P bytes sent as in a ring, and the owner adds in rank
// order. Along a route sums are made level by level. Either way the same bits whoever owns what.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "comm/communicator.hpp"
#include "comm/gradient_reducer.hpp"
#include "comm/owner_route.hpp"
#include "core/tensor.hpp"

namespace isaribi::comm {

/// A tensor in host memory and the rank it belongs to.
struct Owned {
  core::Tensor tensor;  ///< f32 or f64; the same shape on every rank
  int owner = 0;
};

/// Sums tensors onto their owners. Every rank adds the same tensors in the same order. One rank
/// alone sends nothing.
class OwnerReducer {
 public:
  /// @param bucket_bytes of payload that leave together. @param route for them, those it takes;
  /// null: none
  OwnerReducer(Communicator& comm, std::size_t bucket_bytes, OwnerRoute* route = nullptr);

  /// The tensor must stay as it is until finish(). @param wire type of the payload: that of the
  /// tensor, or f32, bf16 or f16 to send less; sums are made in f64 in any case. What a rank adds
  /// is rounded to it once, along a route also the sum of each level before it goes on.
  void add(const core::Tensor& tensor, int owner, core::DType wire);
  /// Sends what waits for its bucket to be full.
  void start() { flush(); }
  /// Lets what is under way move on; cheap.
  void progress();
  /// Waits for all: owners then hold the sums, other ranks what they added.
  void finish();
  /// Payload bytes that this rank sent to others since construction; along a route, where ranks
  /// also pass on, as many as without, which is the mean over ranks.
  std::int64_t bytes_sent() const { return bytes_sent_; }

 private:
  struct Item {
    core::Tensor tensor;
    int owner;
    core::DType wire;
  };
  struct Bucket {
    std::vector<Item> items;
    core::Tensor send, receive;                           ///< u8
    std::vector<std::int64_t> send_bytes, receive_bytes;  ///< per rank
    Request request;
  };
  /// Items of one wire type, along the route.
  struct RoutedBucket {
    std::vector<Item> items;
    core::Tensor mine;  ///< f64: sums of the items of this rank, one after the other
    Request request;
  };
  void flush();
  std::vector<Item> split_for_route();
  void send_along(std::vector<Item> items);
  void add_up(const Bucket& bucket) const;
  void write(const double* sum, const core::Tensor& to) const;

  Communicator& comm_;
  std::size_t bucket_bytes_;
  std::vector<Item> waiting_;
  std::size_t waiting_bytes_ = 0;
  std::vector<Bucket> under_way_;
  std::vector<RoutedBucket> along_route_;
  OwnerRoute* route_;
  std::int64_t bytes_sent_ = 0;
};

/// Gradients summed onto their owners only: the first half of an allreduce, a range at a time.
class ScatterReducer final : public GradientReducer {
 public:
  /// Elements [begin, end) of the flat gradient belong to `owner`.
  struct Range {
    std::int64_t begin = 0, end = 0;
    int owner = 0;
  };
  /// @param ranges in increasing order, without gaps. @param bucket_bytes 0 chooses 1 MiB
  ScatterReducer(Communicator& comm, core::Tensor gradients, std::vector<Range> ranges,
                 std::size_t bucket_bytes = 0, OwnerRoute* route = nullptr);
  void ready(std::int64_t begin, std::int64_t end) override;
  void progress() override { reducer_.progress(); }
  void finish() override;

 private:
  OwnerReducer reducer_;
  core::Tensor gradients_;
  std::vector<Range> ranges_;
  std::size_t next_ = 0;  ///< range of this step
};

/// As comm.start_all_gather_v, along the route if it serves `comm` and takes as many bytes. f32,
/// f64 or i32; `all` must outlive the request.
Request start_all_gather_along(OwnerRoute* route, Communicator& comm, core::Tensor mine,
                               std::span<const std::int64_t> counts, core::Tensor all);

/// Collective: gives every rank the tensors of their owners (an allgather-v), along the route if it
/// serves `comm`. @return payload bytes that this rank sent, each counted once per other rank's
/// share of a ring: own bytes (P - 1).
std::int64_t share_owned(Communicator& comm, const std::vector<Owned>& tensors,
                         OwnerRoute* route = nullptr);

}  // namespace isaribi::comm
