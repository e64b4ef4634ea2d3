// SPDX-License-Identifier: MIT
// Where ranks sit: nodes, racks and parts of nodes, made by hand and read from machines that hwloc
// makes up.
#include <algorithm>
#include <string>
#include <vector>

#include "catch.hpp"
#include "comm/allreduce/plan_choice.hpp"
#include "comm/allreduce/topology.hpp"
#include "core/error.hpp"

using namespace isaribi;
using comm::NodeParts;
using comm::Place;
using comm::Topology;

namespace {

using Ranks = std::vector<std::vector<int>>;
using Kinds = std::vector<std::string>;

// Innermost last; a NUMA domain is the memory of what follows it.
constexpr const char* kEpyc = "pack:2 numa:4 l3:2 l2:4 core:1 pu:2";  // NPS4, two L3 a domain
constexpr const char* kXeon = "pack:2 numa:1 l3:1 l2:8 core:1 pu:1";  // a domain and an L3 a socket
constexpr const char* kSplitL3 = "pack:2 l3:1 numa:2 l2:4 core:1 pu:1";  // sub-NUMA clustering

/// One rank on each of `cores`, which are numbered along the machine.
std::vector<Place> bound(const char* machine, const std::vector<int>& cores,
                         const std::string& host = "n0") {
  std::vector<Place> places;
  for (const int core : cores) places.push_back({"", host, comm::parts_of(machine, {core})});
  return places;
}

std::vector<int> numbers(int count, int step = 1) {
  std::vector<int> all;
  for (int i = 0; i < count; ++i) all.push_back(i * step);
  return all;
}

}  // namespace

TEST_CASE("topology: ranks dealt round robin come together") {
  std::vector<Place> places;
  for (int r = 0; r < 8; ++r) {
    const int node = r % 4;
    places.push_back({node % 2 == 0 ? "r0" : "r1", std::to_string(node)});
  }
  const Topology topology = comm::arrange(places);
  CHECK(topology.order.ranks == std::vector<int>{0, 4, 2, 6, 1, 5, 3, 7});
  CHECK(topology.order.domains == Ranks{{0, 0, 1, 1, 2, 2, 3, 3}, {0, 0, 0, 0, 1, 1, 1, 1}});
  CHECK(topology.kinds == Kinds{"node", "rack"});
  CHECK(topology.nodes == 4);
  CHECK(topology.racks == 2);
  CHECK(topology.shape() == std::vector<int>{2, 2, 2});
  CHECK(topology.description() ==
        "8 ranks on 4 nodes in 2 racks: up to 2 ranks a node, 2 nodes a rack");
}

TEST_CASE("topology: racks count only when all are known") {
  std::vector<Place> places;
  for (int node = 0; node < 4; ++node)
    places.push_back({node < 2 ? "a" : "b", std::to_string(node)});
  CHECK(comm::arrange(places).kinds == Kinds{"rack"});  // one rank a node
  CHECK(comm::arrange(places).shape() == std::vector<int>{2, 2});
  CHECK(comm::arrange(places).description() ==
        "4 ranks on 4 nodes in 2 racks: up to 2 ranks a rack");
  places[3].rack.clear();
  const Topology unknown = comm::arrange(places);
  CHECK(unknown.kinds.empty());
  CHECK(unknown.racks == 1);
  CHECK(unknown.nodes == 4);
  CHECK(unknown.order.ranks == std::vector<int>{0, 1, 2, 3});
  CHECK(unknown.shape() == std::vector<int>{4});
  CHECK(unknown.description() == "4 ranks on 4 nodes");
}

TEST_CASE("topology: NUMA domains, where a node has several") {
  std::vector<Place> places;
  for (int r = 0; r < 8; ++r) places.push_back({"", r < 4 ? "n0" : "n1", {-1, -1, r % 2, -1}});
  const Topology topology = comm::arrange(places);
  CHECK(topology.kinds == Kinds{"NUMA domain", "node"});
  CHECK(topology.order.ranks == std::vector<int>{0, 2, 1, 3, 4, 6, 5, 7});
  CHECK(topology.order.domains == Ranks{{0, 0, 1, 1, 2, 2, 3, 3}, {0, 0, 0, 0, 1, 1, 1, 1}});
  CHECK(topology.shape() == std::vector<int>{2, 2, 2});
  CHECK(topology.description() ==
        "8 ranks on 2 nodes: up to 2 ranks a NUMA domain, 2 NUMA domains a node");
  for (Place& p : places) p.parts[2] = 0;  // each node has only this one
  CHECK(comm::arrange(places).kinds == Kinds{"node"});
  places[5].parts[2] = -1;  // not bound
  places[6].parts[2] = 1;
  CHECK(comm::arrange(places).kinds == Kinds{"node"});
}

TEST_CASE("parts of nodes: those that hold all cores of a rank") {
  CHECK(comm::parts_of(kEpyc, {0}) == NodeParts{0, 0, 0, 0});
  CHECK(comm::parts_of(kEpyc, {126, 127}) == NodeParts{63, 15, 7, 1});
  CHECK(comm::parts_of(kEpyc, {0, 2}) == NodeParts{-1, 0, 0, 0});  // two cores of one L3
  CHECK(comm::parts_of(kEpyc, {0, 8}) == NodeParts{-1, -1, 0, 0});
  CHECK(comm::parts_of(kEpyc, {0, 16}) == NodeParts{-1, -1, -1, 0});
  CHECK(comm::parts_of(kEpyc, numbers(128)) == comm::kNoParts);
  CHECK(comm::parts_of(kEpyc, {}) == comm::kNoParts);
  CHECK(comm::parts_of(kSplitL3, {4}) == NodeParts{4, 0, 1, 0});
  CHECK(comm::parts_of(kSplitL3, {0, 4}) == NodeParts{-1, 0, -1, 0});
  CHECK(comm::parts_of("numa:2 core:2 pu:1", {3}) == NodeParts{-1, -1, 1, -1});  // no caches
  CHECK_THROWS_AS(comm::parts_of("socks:2", {0}), core::InternalError);
}

TEST_CASE("parts of this process: a rank that may run anywhere belongs to no part of several") {
  const NodeParts mine = comm::parts_of_this_process();
  CHECK(*std::min_element(mine.begin(), mine.end()) >= -1);
}

TEST_CASE("topology: caches, NUMA domains and sockets of an EPYC") {
  const Topology cores = comm::arrange(bound(kEpyc, numbers(64, 2)));
  CHECK(cores.kinds == Kinds{"L3 cache", "NUMA domain", "socket"});
  CHECK(cores.shape() == std::vector<int>{4, 2, 4, 2});
  CHECK(
      cores.description() ==
      "64 ranks on 1 node: up to 4 ranks an L3 cache, 2 L3 caches a NUMA domain, 4 NUMA domains a "
      "socket");
  CHECK(cores.kinds_within_node() == 4);
  // Two ranks a core share its L2.
  const Topology threads = comm::arrange(bound(kEpyc, numbers(128)));
  CHECK(threads.kinds == Kinds{"L2 cache", "L3 cache", "NUMA domain", "socket"});
  CHECK(threads.shape() == std::vector<int>{2, 4, 2, 4, 2});
  // One rank an L3: what the L3 is called does not matter.
  const Topology few = comm::arrange(bound(kEpyc, numbers(16, 8)));
  CHECK(few.kinds == Kinds{"NUMA domain", "socket"});
  CHECK(few.shape() == std::vector<int>{2, 4, 2});
}

TEST_CASE("candidates: parts of nodes are levels, and there are not too many") {
  const auto texts_of = [](const Topology& topology) {
    std::vector<std::string> texts;
    for (const auto& levels : comm::candidate_levels(topology))
      texts.push_back(comm::to_text(levels));
    std::sort(texts.begin(), texts.end());
    CHECK(std::adjacent_find(texts.begin(), texts.end()) == texts.end());
    return texts;
  };
  const auto all = texts_of(comm::arrange(bound(kEpyc, numbers(64, 2))));
  CHECK(all.size() < 1000);
  for (const char* text : {"direct4-direct2-direct4-direct2", "shared4-direct2-ring4-direct2",
                           "shared8-direct8", "shared64", "ring64"}) {
    INFO(text);
    CHECK(std::binary_search(all.begin(), all.end(), text));
  }
  std::vector<Place> places;
  for (int n = 0; n < 16; ++n) {
    for (const Place& p : bound(kEpyc, numbers(64, 2), std::to_string(n))) places.push_back(p);
  }
  const auto many = texts_of(comm::arrange(places));  // 38,800 of every combination
  CHECK(many.size() < 10000);  // not cut off: those with one exchange within nodes and one between
  for (const char* text : {"direct4-direct2-direct4-direct2-ring16", "shared64-ring16",
                           "shared4-shared2-shared4-shared2-mpi16", "ring1024"}) {
    INFO(text);
    CHECK(std::binary_search(many.begin(), many.end(), text));
  }
}

TEST_CASE("hierarchies of thousands of ranks: the shortest of too many") {
  const auto all = comm::candidate_levels(comm::regular_topology(4096, 64, 4096));
  CHECK(all.size() == 10000);
  const auto has = [&](const char* text) {
    return std::any_of(all.begin(), all.end(),
                       [&](const auto& levels) { return comm::to_text(levels) == text; });
  };
  CHECK(has("ring4096"));
  CHECK(has("shared64-ring64"));
}

TEST_CASE("topology: several kinds that hold the same ranks are one, on a Xeon") {
  std::vector<Place> places = bound(kXeon, numbers(16));
  const Topology one = comm::arrange(places);
  CHECK(one.kinds == Kinds{"socket"});
  CHECK(one.shape() == std::vector<int>{8, 2});
  for (const Place& p : bound(kXeon, numbers(16), "n1")) places.push_back(p);
  const Topology two = comm::arrange(places);
  CHECK(two.kinds == Kinds{"socket", "node"});
  CHECK(two.kinds_within_node() == 2);
  CHECK(two.description() == "32 ranks on 2 nodes: up to 8 ranks a socket, 2 sockets a node");
  // Bound to sockets instead of cores: the same.
  for (std::size_t r = 0; r < places.size(); ++r)
    places[r].parts = comm::parts_of(kXeon, r % 16 < 8 ? numbers(8) : std::vector<int>{8, 15});
  CHECK(comm::arrange(places).description() == two.description());
  // Dealt round robin, they come together.
  for (std::size_t r = 0; r < places.size(); ++r)
    places[r].parts[3] = places[r].parts[2] = places[r].parts[1] = static_cast<int>(r % 2);
  const std::vector<int> order = comm::arrange(places).order.ranks;
  CHECK(std::vector<int>(order.begin(), order.begin() + 9) ==
        std::vector<int>{0, 2, 4, 6, 8, 10, 12, 14, 1});
}

TEST_CASE("topology: NUMA domains within one L3") {
  const Topology topology = comm::arrange(bound(kSplitL3, numbers(16)));
  CHECK(topology.kinds == Kinds{"NUMA domain", "socket"});  // the L3 is the socket's
  CHECK(topology.shape() == std::vector<int>{4, 2, 2});
}

TEST_CASE("topology: a kind that does not nest with finer ones is left out") {
  std::vector<Place> places;  // L3: 0 0 1 1 2 2, NUMA: 0 0 0 1 1 1
  for (int r = 0; r < 6; ++r) places.push_back({"", "n0", {-1, r / 2, r / 3, -1}});
  CHECK(comm::arrange(places).kinds == Kinds{"L3 cache"});
}

TEST_CASE("topology: ranks that are not bound, and uneven ones") {
  std::vector<Place> places = bound(kXeon, numbers(16));
  places[3].parts = comm::parts_of(kXeon, numbers(16));  // may run on both sockets
  CHECK(comm::arrange(places).kinds.empty());
  CHECK(comm::arrange(places).description() == "16 ranks on 1 node");
  // 6 ranks on one socket, 2 on the other; a second node with ranks on one socket only.
  places = bound(kXeon, {0, 1, 2, 3, 4, 5, 8, 9});
  for (const Place& p : bound(kXeon, {8, 9, 10}, "n1")) places.push_back(p);
  const Topology ragged = comm::arrange(places);
  CHECK(ragged.kinds == Kinds{"socket", "node"});
  CHECK(ragged.order.domains ==
        Ranks{{0, 0, 0, 0, 0, 0, 1, 1, 2, 2, 2}, {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1}});
  CHECK(ragged.shape() == std::vector<int>{6, 2, 2});
  // Every hierarchy of it comes together.
  const auto all = comm::candidate_levels(ragged);
  CHECK(all.size() > 20);
  for (const auto& levels : all) CHECK_NOTHROW(comm::check_plan(ragged, {levels, 0}, std::nullopt));
}

TEST_CASE("topology: a domain that tells nothing is not listed") {
  CHECK(comm::arrange({{"", "n0"}}).description() == "1 rank on 1 node");
  CHECK(comm::arrange({{"", "n0"}, {"", "n0"}}).kinds.empty());
  const Topology one_rack = comm::regular_topology(8, 2, 34);
  CHECK(one_rack.kinds == Kinds{"node"});
  CHECK(one_rack.racks == 1);
  const Topology large = comm::regular_topology(4352, 4, 34);
  CHECK(large.shape() == std::vector<int>{4, 34, 32});
  CHECK(large.nodes == 1088);
  const Topology part = comm::regular_topology(10, 4, 2);  // nodes of 4, 4, 2
  CHECK(part.order.domains ==
        Ranks{{0, 0, 0, 0, 1, 1, 1, 1, 2, 2}, {0, 0, 0, 0, 0, 0, 0, 0, 1, 1}});
  CHECK(part.shape() == std::vector<int>{4, 2, 2});
}
