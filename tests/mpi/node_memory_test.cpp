// SPDX-License-Identifier: MIT
// Memory of which the ranks of a node have one copy; nodes are parts of this one.
#include "comm/node_memory.hpp"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <numeric>
#include <thread>

#include "comm/agreement.hpp"
#include "harness.hpp"
#include "routes.hpp"

using namespace isaribi;
using namespace isaribi::mpi_test;
using comm::Communicator;
using comm::NodeMemory;

namespace {

void pause() {
  std::this_thread::sleep_for(std::chrono::milliseconds(30));
}

void one_copy(Communicator& world) {
  constexpr std::int64_t kRows = 7, kColumns = 5;
  const std::size_t each = NodeMemory::bytes_of(kRows * kColumns * sizeof(float));
  expect_equal(each, std::size_t{192}, "whole cache lines");
  NodeMemory memory(world, world.split_node(), 2 * each);
  expect(memory.one_node(), "one node");
  const core::Tensor a({kRows, kColumns}, core::DType::f32, memory),
      b({kRows, kColumns}, core::DType::f32, memory);
  expect(static_cast<std::byte*>(b.raw()) - static_cast<std::byte*>(a.raw()) == 192, "places");
  const auto [begin, end] = memory.slice(kRows);
  for (int round = 0; round < 3; ++round) {
    if (world.rank() == round % world.size()) pause();
    for (const core::Tensor& t : {a, b}) {
      for (std::int64_t i = begin * kColumns; i < end * kColumns; ++i)
        t.data<float>()[i] = static_cast<float>(i + round + (t.raw() == b.raw() ? 100 : 0));
    }
    memory.fence();
    if (world.rank() == (round + 1) % world.size()) pause();  // others must not write on
    for (std::int64_t i = 0; i < a.count(); ++i) {
      expect_equal(a.data<float>()[i], static_cast<float>(i + round), "of all ranks");
      expect_equal(b.data<float>()[i], static_cast<float>(i + round + 100), "of all ranks");
    }
    memory.fence();
  }
  expect_equal(memory.fences(), std::int64_t{6});
  try {
    memory.allocate(1);
  } catch (const core::InternalError& error) {
    return expect_in("384", error.cause());
  }
  expect(false, "more than was asked for is refused");
}

/// Consecutive ranks, so many nodes.
int block(const Communicator& world, int nodes) {
  return world.rank() * nodes / world.size();
}

void complete(Communicator& world, const comm::OwnerRoute* route) {
  const int nodes = std::min(world.size(), 3);
  const std::int64_t rows = 2 * world.size();
  NodeMemory memory(world, world.split(block(world, nodes)), 64 * 1024, route);
  expect(memory.one_node() == (nodes == 1), "several nodes");
  std::vector<NodeMemory::Parts> tensors;
  for (const std::int64_t columns : {1, 3}) {
    NodeMemory::Parts& t = tensors.emplace_back();
    t.all = core::Tensor({rows, columns}, core::DType::f32, memory);
    std::int64_t left = rows;  // uneven: the first has nothing, the last what is left
    for (int r = 0; r < world.size(); ++r) {
      const std::int64_t mine = r + 1 == world.size() ? left : std::min<std::int64_t>(left, r);
      t.counts.push_back(mine * columns);
      left -= mine;
    }
  }
  for (int round = 0; round < 2; ++round) {
    for (const NodeMemory::Parts& t : tensors) {
      const std::int64_t before =
          std::accumulate(t.counts.begin(), t.counts.begin() + world.rank(), std::int64_t{0});
      const std::int64_t mine = t.counts[static_cast<std::size_t>(world.rank())];
      for (std::int64_t i = before; i < before + mine; ++i)
        t.all.data<float>()[i] = static_cast<float>(10 * i + round);
    }
    if (world.rank() == 0) pause();
    memory.complete(tensors);
    for (const NodeMemory::Parts& t : tensors) {
      for (std::int64_t i = 0; i < t.all.count(); ++i)
        expect_equal(t.all.data<float>()[i], static_cast<float>(10 * i + round), "of all nodes");
    }
    memory.fence();
  }
}

/// Counts what goes along it between nodes.
class CountingRoute final : public comm::OwnerRoute {
 public:
  CountingRoute(Communicator& comm, int& copies) : comm_(comm), copies_(copies) {}
  std::string description() const override { return "counts"; }
  int ranks() const override { return comm_.size(); }
  bool sums(std::int64_t) const override { return false; }
  comm::Request start_sums(core::Tensor, std::span<const std::int64_t>, core::Tensor,
                           core::DType) override {
    throw core::InternalError("no sums");
  }
  bool copies(std::int64_t) const override { return true; }
  comm::Request start_copies(core::Tensor mine, std::span<const std::int64_t> counts,
                             core::Tensor all) override {
    ++copies_;
    return comm_.start_all_gather_v(mine, counts, all);
  }
  std::unique_ptr<comm::OwnerRoute> between_nodes(Communicator& leaders,
                                                  std::span<const int>) const override {
    return std::make_unique<CountingRoute>(leaders, copies_);
  }

 private:
  Communicator& comm_;
  int& copies_;
};

void several_nodes(Communicator& world) {
  complete(world, nullptr);
  int copies = 0;
  const CountingRoute counting(world, copies);
  complete(world, &counting);
  const int nodes = std::min(world.size(), 3);
  const bool leads = world.rank() == 0 || (world.rank() - 1) * nodes / world.size() !=
                                              world.rank() * nodes / world.size();
  expect_equal(copies, nodes > 1 && leads ? 4 : 0, "two tensors, twice");
  for (const std::string& plan : {levels(world, "direct") + "/1K", levels(world, "ring")}) {
    const comm::TunedRoute route = route_of(world, plan);
    complete(world, &route);
  }
}

/// What is left of plans for one rank of each node.
void between_nodes(Communicator& world) {
  if (world.size() != 4) return;
  const auto left = [&](const std::string& plan, const std::vector<int>& first) {
    const bool leads = std::find(first.begin(), first.end(), world.rank()) != first.end();
    const auto leaders = world.split(leads ? 0 : 1);
    if (!leads) return std::string();
    return route_of(world, plan).between_nodes(*leaders, first)->description();
  };
  const bool even = world.rank() % 2 == 0;
  expect_equal(left("direct2-direct2/1K", {0, 2}), even ? "sums and copies along direct2/1K" : "");
  expect_equal(left("ring4/1K", {0, 2}), even ? "sums and copies along ring2/1K" : "");
  expect_equal(left("direct2-direct2", {0, 1}),
               world.rank() < 2 ? "sums and copies along ring2" : "");
}

void who_is_served(Communicator& world) {
  const auto serves = [&](int colour) {
    const auto node = world.split(colour);
    return NodeMemory::serves(world, *node);
  };
  expect(serves(0) == (world.size() > 1), "one node");
  expect(!serves(world.rank()), "a rank a node");
  if (world.size() > 2) {
    expect(serves(block(world, 2)), "ranks of a node in a row");
    expect(!serves(world.rank() % 2), "dealt in turns");
  }
  if (world.size() > 3) expect(!serves(world.rank() == 2 ? 1 : 0), "another between them");
}

void no_room(Communicator& world) {
  try {
    NodeMemory memory(world, world.split_node(), std::size_t{1} << 50);
  } catch (const comm::CollectiveError& error) {
    expect_in("/dev/shm has", error.cause());
    return expect(error.code() == core::ExitCode::comm, "code");
  }
  expect(false, "a petabyte is refused");
}

}  // namespace

int main(int argc, char** argv) {
  return run_cases(argc, argv,
                   {{"one copy", one_copy},
                    {"several nodes", several_nodes},
                    {"between nodes", between_nodes},
                    {"who is served", who_is_served},
                    {"no room", no_room}});
}
