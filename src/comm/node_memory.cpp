// SPDX-License-Identifier: MIT
#include "comm/node_memory.hpp"

#include <numeric>

#include "comm/agreement.hpp"
#include "comm/owner_exchange.hpp"
#include "comm/rank_slice.hpp"
#include "core/error.hpp"

namespace isaribi::comm {
namespace {

constexpr std::size_t kLine = 64;  // bytes: tensors begin where vectors may

/// The first rank of its node in `comm`, for every rank.
std::vector<int> first_of_node(Communicator& comm, Communicator& node) {
  int first = comm.rank();
  node.broadcast(std::as_writable_bytes(std::span(&first, 1)), 0);
  std::vector<int> all(static_cast<std::size_t>(comm.size()));
  comm.all_gather(std::as_bytes(std::span(&first, 1)), std::as_writable_bytes(std::span(all)));
  return all;
}

}  // namespace

bool NodeMemory::serves(Communicator& comm, Communicator& node) {
  const std::vector<int> first = first_of_node(comm, node);
  bool several = false;
  for (std::size_t r = 1; r < first.size(); ++r) {
    const bool joins = first[r] == first[r - 1];
    if (!joins && first[r] != static_cast<int>(r)) return false;
    several = several || joins;
  }
  return several;
}

std::size_t NodeMemory::bytes_of(std::size_t bytes) {
  return (bytes + kLine - 1) / kLine * kLine;
}

NodeMemory::NodeMemory(Communicator& comm, std::unique_ptr<Communicator> node, std::size_t bytes,
                       const OwnerRoute* route)
    : comm_(comm), node_(std::move(node)), leaders_(comm.split(node_->is_root() ? 0 : 1)) {
  for (const int first : first_of_node(comm, *node_)) {
    if (first_.empty() || first_.back() != first) first_.push_back(first);
  }
  if (route != nullptr && route->ranks() == comm.size() && first_.size() > 1 && node_->is_root())
    route_ = route->between_nodes(*leaders_, first_);
  first_.push_back(comm.size());
  run_together(comm, [&] { window_ = node_->make_shared_window(bytes); });  // a node fails alike
}

void* NodeMemory::allocate(std::size_t bytes) {
  const std::size_t at = used_;
  used_ += bytes_of(bytes);
  if (used_ > window_->bytes())
    throw core::InternalError("node memory of " + std::to_string(window_->bytes()) +
                              " bytes was asked for " + std::to_string(used_));
  return window_->data() + at;
}

std::pair<std::int64_t, std::int64_t> NodeMemory::slice(std::int64_t rows) const {
  return rank_slice(rows, node_->rank(), node_->size());
}

void NodeMemory::fence() {
  window_->fence();
  ++fences_;
}

void NodeMemory::complete(std::span<const Parts> tensors) {
  fence();
  if (one_node()) return;
  const std::size_t nodes = first_.size() - 1;
  if (node_->is_root()) {
    const auto me = static_cast<std::size_t>(leaders_->rank());
    std::vector<Request> under_way;
    for (const Parts& t : tensors) {
      std::vector<std::int64_t> counts;  // by node
      for (std::size_t n = 0; n < nodes; ++n)
        counts.push_back(std::accumulate(t.counts.begin() + first_[n],
                                         t.counts.begin() + first_[n + 1], std::int64_t{0}));
      const std::int64_t before = std::accumulate(
          counts.begin(), counts.begin() + static_cast<std::ptrdiff_t>(me), std::int64_t{0});
      under_way.push_back(start_all_gather_along(route_.get(), *leaders_,
                                                 t.all.slice(before, {counts[me]}), counts, t.all));
    }
    for (Request& request : under_way) request.wait();
  }
  fence();
}

}  // namespace isaribi::comm
