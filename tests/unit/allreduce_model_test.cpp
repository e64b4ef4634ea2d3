// SPDX-License-Identifier: MIT
// The cost model: loads of known cases, bounds, predictions, and the fit of parameters it made
// itself.
#include <cmath>
#include <string>
#include <vector>

#include "catch.hpp"
#include "comm/allreduce/cost_model.hpp"
#include "comm/allreduce/tuner.hpp"
#include "core/error.hpp"

using namespace isaribi;
using comm::LinkCost;
using comm::MachineModel;
using comm::StageLoad;
using comm::Topology;

namespace {

std::vector<StageLoad> loads(const Topology& topology, const std::string& levels) {
  return comm::stage_loads(topology, {topology.order, comm::parse_levels(levels)});
}

/// Inside a node 10 times as fast as outside; ring and direct differ; 64 KiB are a large message.
MachineModel machine() {
  return {{{{2e-6, 1.3e-10, 1e-10, 9e-11}, {1e-6, 1.5e-10, 1.2e-10, 9e-11}},
           {{4e-5, 1.4e-9, 1.1e-9, 9e-10}, {3e-5, 2e-9, 1.25e-9, 9e-10}}},
          65536};
}

/// What segments that overlap in several places at once cost.
double together(double a, double b, double c) {
  return std::cbrt(a * a * a + b * b * b + c * c * c);
}

}  // namespace

TEST_CASE("cuts: 2 (k - 1) / k bytes of k nodes and racks") {
  const Topology topology = comm::regular_topology(16, 2, 4);
  CHECK(comm::node_cut_bytes(topology, 800) == Approx(2 * 7 / 8.0 * 800));
  CHECK(comm::rack_cut_bytes(topology, 800) == Approx(800));
  const Topology one = comm::regular_topology(4, 4, 4);
  CHECK(comm::node_cut_bytes(one, 800) == 0);
  CHECK(comm::rack_cut_bytes(one, 800) == 0);
}

TEST_CASE("loads: known cases on 4 nodes of 2 ranks") {
  const Topology topology = comm::regular_topology(8, 2, 8);
  const std::vector<StageLoad> direct = loads(topology, "direct8");
  REQUIRE(direct.size() == 1);
  CHECK(direct[0].link == 1);
  CHECK(direct[0].rounds == 7);
  CHECK(direct[0].port == Approx(7 / 8.0));
  REQUIRE(direct[0].door.size() == 1);
  CHECK(direct[0].door[0] == Approx(2 * 6 / 8.0));  // two ranks, six others each
  const std::vector<StageLoad> ring = loads(topology, "ring8");
  CHECK(ring[0].port == Approx(7 / 8.0));
  REQUIRE(ring[0].door.size() == 1);
  CHECK(ring[0].door[0] == Approx(7 / 8.0));  // one rank's neighbour is outside
  const std::vector<StageLoad> nodes = loads(topology, "direct2-ring4");
  REQUIRE(nodes.size() == 2);
  CHECK(nodes[0].link == 0);
  CHECK(nodes[0].rounds == 1);
  CHECK(nodes[0].port == Approx(0.5));
  REQUIRE(nodes[0].door.size() == 1);
  CHECK(nodes[0].door[0] == 0);
  CHECK(nodes[1].link == 1);
  CHECK(nodes[1].rounds == 3);
  CHECK(nodes[1].port == Approx(3 / 8.0));
  REQUIRE(nodes[1].door.size() == 1);
  CHECK(nodes[1].door[0] == Approx(3 / 4.0));  // half of the node cut: one way
  const std::vector<StageLoad> all_two = loads(topology, "direct2-direct2-direct2");
  CHECK(all_two[1].door[0] + all_two[2].door[0] == Approx(3 / 4.0));
}

TEST_CASE("loads: racks, and nodes with unlike numbers of ranks") {
  const Topology racks = comm::regular_topology(16, 2, 4);
  const std::vector<StageLoad> levels = loads(racks, "direct2-ring4-direct2");
  CHECK(levels[1].link == 1);
  CHECK(levels[1].door[1] == Approx(0));
  CHECK(levels[2].link == 2);
  CHECK(levels[2].door[0] == Approx(1 / 8.0));
  CHECK(levels[2].door[1] == Approx(1 / 2.0));
  std::vector<comm::Place> places;
  for (const int node : {0, 1, 1, 1, 2, 2, 3, 3}) places.push_back({"", std::to_string(node)});
  const std::vector<StageLoad> uneven = loads(comm::arrange(places), "direct3-ring4");
  CHECK(uneven[0].port == Approx(2 / 3.0));
  CHECK(uneven[1].port == Approx(3 / 4.0));  // the node with one rank
  CHECK(uneven[1].door[0] == Approx(3 / 4.0));
}

TEST_CASE("loads: the library's level is a direct exchange in pairs, and may send all at once") {
  const Topology topology = comm::regular_topology(8, 2, 8);
  const std::vector<StageLoad> pairs = loads(topology, "direct2-direct2-mpi2"),
                               direct = loads(topology, "direct2-direct2-direct2"),
                               four = loads(topology, "direct2-mpi4");
  CHECK(pairs[2].exchange == comm::Exchange::direct);
  CHECK(pairs[2].message() == Approx(direct[2].message()));
  CHECK(four[1].exchange == comm::Exchange::library);
  CHECK(four[1].message() == Approx(1 / 2.0));
  CHECK(loads(topology, "direct2-direct4")[1].message() == Approx(1 / 8.0));
  for (const double bytes : {1e4, 1e5, 1e6})
    CHECK(comm::predict_seconds(machine(), pairs, bytes, 4, 2) ==
          comm::predict_seconds(machine(), direct, bytes, 4, 2));
}

TEST_CASE("predictions: by hand, and in the right direction") {
  const Topology topology = comm::regular_topology(8, 2, 8);
  const std::vector<StageLoad> direct = loads(topology, "direct8"),
                               nodes = loads(topology, "direct2-ring4");
  const MachineModel m = machine();
  CHECK(comm::predict_seconds(m, direct, 1e6, 1, 2) == Approx(2 * (7 * 3e-5 + 1.5e6 * 2e-9)));
  const double inside = 2 * (1e-6 + 0.5e6 * 1.5e-10), outside = 2 * (3 * 4e-5 + 0.75e6 * 1.4e-9);
  CHECK(comm::predict_seconds(m, nodes, 1e6, 1, 2) == Approx(inside + outside));
  // Ten segments: one passes alone, nine at the pace of the network, nearly.
  const double busy_inside = 2 * 0.5e6 * 1.2e-10, busy_outside = 2 * 0.75e6 * 1.1e-9;
  CHECK(comm::predict_seconds(m, nodes, 1e7, 10, 2) ==
        Approx(inside + outside + 9 * together(busy_inside, busy_outside, outside / 4)));
  // A stage that lets in one segment at once.
  CHECK(comm::predict_seconds(m, nodes, 1e7, 10, 1) ==
        Approx(inside + outside + 9 * together(busy_inside, busy_outside, outside / 2)));
  // Small messages wait for nobody.
  CHECK(comm::predict_seconds(m, direct, 8e4, 1, 2) == Approx(2 * (7 * 3e-5 + 1.2e5 * 9e-10)));
  for (const auto& plan : {direct, nodes}) {
    double before = 0;
    for (double bytes = 1e3; bytes < 1e9; bytes *= 3) {
      const double now = comm::predict_seconds(m, plan, bytes, 4, 2);
      CHECK(now > before);
      before = now;
      CHECK(comm::predict_seconds(m, plan, bytes, 4, 1) >= now);
    }
  }
  for (int worse = 0; worse < 3; ++worse) {
    MachineModel slower = m;
    LinkCost& cost = slower.links[1].ring;
    (worse == 0 ? cost.latency : worse == 1 ? cost.alone : cost.busy) *= 2;
    CHECK(comm::predict_seconds(slower, nodes, 1e7, 10, 2) >
          comm::predict_seconds(m, nodes, 1e7, 10, 2));
  }
}

TEST_CASE("predictions: cores carry all that stays in a node, each link of the network its own") {
  const Topology racks = comm::regular_topology(16, 2, 4),
                 sockets = comm::regular_topology(8, 4, 2, 2);
  MachineModel m = machine();
  m.links.push_back({{4e-5, 3e-9, 2.5e-9, 9e-10}, {3e-5, 3e-9, 2.2e-9, 9e-10}});  // out of a rack
  const double port = 1e6, card = 0.75e6, uplink = 1e6;  // bytes of a segment of 2e6, one way
  const double inside = 2 * port * 1.2e-10, node = 2 * (2 * card * 1.1e-9 + card / 3 * 1.25e-9),
               rack = 2 * uplink * 2.2e-9;
  const double first =
      2 * (1e-6 + port * 1.5e-10) + 2 * (3 * 4e-5 + 2 * card * 1.4e-9) + 2 * (3e-5 + uplink * 3e-9);
  const double slowest = (3e-5 + uplink * 3e-9) / 2;
  const auto cube = [](double x) { return x * x * x; };
  CHECK(comm::predict_seconds(m, loads(racks, "direct2-ring4-direct2"), 2e7, 10, 2) ==
        Approx(first + 9 * std::cbrt(cube(inside) + cube(node) + cube(rack) + cube(slowest))));
  // Links: in a socket, out of one, out of a node.
  m.links = {m.links[0], {{}, {2e-6, 3e-10, 2e-10, 9e-11}}, m.links[1]};
  CHECK(loads(sockets, "direct2-direct2-direct2")[1].network == 2);
  const double cores = 2 * (0.5e6 * 1.2e-10 + 0.5e6 * 2e-10), out = 2 * 0.5e6 * 1.25e-9;
  const double alone =
      2 * (1e-6 + 0.5e6 * 1.5e-10) + 2 * (2e-6 + 0.5e6 * 3e-10) + 2 * (3e-5 + 0.5e6 * 2e-9);
  CHECK(comm::predict_seconds(m, loads(sockets, "direct2-direct2-direct2"), 1e7, 10, 2) ==
        Approx(alone + 9 * together(cores, out, (3e-5 + 0.5e6 * 2e-9) / 2)));
}

TEST_CASE("fit: finds the parameters that made the samples") {
  const Topology topology = comm::regular_topology(8, 2, 8);
  std::vector<comm::Sample> samples;
  for (const char* plan :
       {"direct2-ring4", "direct2-direct4", "ring8", "direct8", "direct2-direct2-direct2"}) {
    for (const double bytes : {65536.0, 1048576.0, 16777216.0}) {
      for (const std::int64_t segments : {1, 4, 16}) {
        const std::vector<StageLoad> l = loads(topology, plan);
        samples.push_back(
            {l, bytes, segments, 2, comm::predict_seconds(machine(), l, bytes, segments, 2)});
      }
    }
  }
  const LinkCost start{1e-5, 1e-9, 1e-9, 1e-9};
  const MachineModel fitted = comm::fit_model({{{start, start}, {start, start}}}, samples);
  double worst = 0;
  for (const comm::Sample& s : samples) {
    const double t = comm::predict_seconds(fitted, s.loads, s.bytes, s.segments, s.window);
    worst = std::max(worst, std::abs(t / s.seconds - 1));
  }
  CHECK(worst < 0.03);
  const MachineModel expected = machine();
  const auto close = [](double got, double truth) { return std::abs(got / truth - 1) < 0.1; };
  for (const auto exchange : {comm::Exchange::ring, comm::Exchange::direct}) {
    const LinkCost &got = fitted.links[1].of(exchange), &truth = expected.links[1].of(exchange);
    CHECK(close(got.latency, truth.latency));
    CHECK(close(got.alone, truth.alone));
    CHECK(close(got.busy, truth.busy));
    CHECK(close(got.eager, truth.eager));
  }
  CHECK(fitted.large_bytes == expected.large_bytes);
  CHECK(fitted.links[0].ring.busy == Approx(start.busy));  // no sample says anything about it
}

TEST_CASE("tunings: the measured size that is nearest as a ratio") {
  const comm::Tuning tuning{"",
                            "",
                            "any",
                            {{65536, comm::parse_plan("mpi"), 1, 1},
                             {1 << 20, comm::parse_plan("direct8"), 1, 1},
                             {64 << 20, comm::parse_plan("direct2-ring4/1M"), 1, 1}}};
  const std::pair<std::int64_t, const char*> chosen[] = {
      {0, "mpi"},
      {1, "mpi"},
      {65536, "mpi"},
      {200000, "mpi"},
      {300000, "direct8"},
      {8000000, "direct8"},
      {9000000, "direct2-ring4/1M"},
      {std::int64_t{1} << 40, "direct2-ring4/1M"}};
  for (const auto& [bytes, plan] : chosen) CHECK(tuning.choose(bytes).text() == plan);
  CHECK_THROWS_AS(comm::Tuning{}.choose(1), core::InternalError);
}
