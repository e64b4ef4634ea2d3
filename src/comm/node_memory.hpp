// SPDX-License-Identifier: MIT
// Tensors of which the ranks of a node have one copy between them. Every rank reads all of it; each
// writes a part of its own, between two calls of fence(). Nodes keep their copies alike.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "comm/communicator.hpp"
#include "comm/owner_route.hpp"
#include "core/tensor.hpp"

namespace isaribi::comm {

class NodeMemory final : public core::MemoryResource {
 public:
  /// Collective over `comm`, which must outlive it, as must this all tensors in it. Destroying is
  /// collective as well. @param node ranks of `comm` that share memory with this one, in its order:
  /// comm.split_node(). @param bytes of all tensors to come, from bytes_of(), the same on every
  /// rank. @param route of what goes between nodes; null: by the library
  /// @throws CollectiveError where a node has no such memory left.
  NodeMemory(Communicator& comm, std::unique_ptr<Communicator> node, std::size_t bytes,
             const OwnerRoute* route = nullptr);
  /// Collective: whether some node has several ranks of `comm`, and the ranks of each are
  /// consecutive, so that what they own of a tensor lies in one piece.
  static bool serves(Communicator& comm, Communicator& node);
  /// What a tensor of `bytes` takes.
  static std::size_t bytes_of(std::size_t bytes);

  core::Device device() const override { return {}; }
  /// Local: the next piece, at the same place for all ranks of a node that ask for the same pieces
  /// in the same order. @throws core::InternalError beyond the bytes of the constructor.
  void* allocate(std::size_t bytes) override;
  void deallocate(void*, std::size_t) noexcept override {}

  /// Which of `rows` rows this rank writes where each rank knows the values of all.
  std::pair<std::int64_t, std::int64_t> slice(std::int64_t rows) const;
  /// Local: whether all ranks of `comm` are on this node.
  bool one_node() const { return first_.size() == 2; }
  /// Collective over the node: what any of its ranks wrote before it is visible to all after it,
  /// and none of them reads any more what was there before.
  void fence();
  /// Local: how often fence() was called, the same on every rank of the node.
  std::int64_t fences() const { return fences_; }
  /// A tensor of which rank r of `comm` has written part r, counts[r] elements behind those of the
  /// ranks before it.
  struct Parts {
    core::Tensor all;
    std::vector<std::int64_t> counts;
  };
  /// Collective over `comm`: gives every node what the ranks of others wrote, one message between
  /// two nodes for all of their ranks, and is a fence().
  void complete(std::span<const Parts> tensors);

 private:
  Communicator& comm_;
  std::unique_ptr<Communicator> node_, leaders_;  ///< ranks of this node; the first ones of all
  std::vector<int> first_;                        ///< ranks of `comm`, by node; behind them size()
  std::unique_ptr<OwnerRoute> route_;             ///< of the first ones
  std::unique_ptr<SharedWindow> window_;
  std::size_t used_ = 0;
  std::int64_t fences_ = 0;
};

}  // namespace isaribi::comm
