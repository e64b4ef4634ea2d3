// SPDX-License-Identifier: MIT
// Racks from rates of pairs: the tournament in which they are measured, and what tells racks from
// noise.
#include <algorithm>
#include <cmath>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "app/machine_file.hpp"
#include "catch.hpp"
#include "comm/allreduce/rack_measurement.hpp"
#include "comm/allreduce/rack_search.hpp"
#include "temporary_folder.hpp"

using namespace isaribi;

namespace {

using Matrix = std::vector<std::vector<double>>;

/// Pairs of one rack at `inside`, others at `across`, each within a factor exp(noise) or so.
Matrix rates(const std::vector<int>& rack, double inside, double across, double noise = 0,
             unsigned seed = 1) {
  std::mt19937 random(seed);
  std::normal_distribution<double> normal;
  const std::size_t n = rack.size();
  Matrix rate(n, std::vector<double>(n, 0));
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t j = i + 1; j < n; ++j) {
      const double mean = rack[i] == rack[j] ? inside : across;
      rate[i][j] = rate[j][i] = mean * std::exp(noise * normal(random));
    }
  }
  return rate;
}

void slow(Matrix& rate, std::size_t node, double most) {
  for (std::size_t i = 0; i < rate.size(); ++i)
    rate[i][node] = rate[node][i] = std::min(rate[i][node], most);
}

}  // namespace

TEST_CASE("tournaments: everyone meets everyone once, nobody twice in a round") {
  for (int players = 2; players <= 13; ++players) {
    for (const unsigned seed : {0U, 1U, 7U}) {
      std::set<std::pair<int, int>> met;
      const auto rounds = comm::tournament(players, seed);
      CHECK(static_cast<int>(rounds.size()) == (players % 2 == 0 ? players - 1 : players));
      for (const std::vector<int>& round : rounds) {
        REQUIRE(static_cast<int>(round.size()) == players);
        CHECK(std::count(round.begin(), round.end(), -1) == players % 2);
        for (int i = 0; i < players; ++i) {
          const int j = round[static_cast<std::size_t>(i)];
          if (j < 0) continue;
          CHECK(j != i);
          CHECK(round[static_cast<std::size_t>(j)] == i);
          if (i < j) CHECK(met.insert({i, j}).second);
        }
      }
      CHECK(static_cast<int>(met.size()) == players * (players - 1) / 2);
    }
  }
  CHECK(comm::tournament(8, 1) != comm::tournament(8, 2));
  CHECK(comm::tournament(8, 3) == comm::tournament(8, 3));
}

TEST_CASE("racks: two of four, three ragged ones, ranks of hosts dealt in turn") {
  for (const std::vector<int>& racks :
       {std::vector<int>{0, 0, 0, 0, 1, 1, 1, 1}, std::vector<int>{0, 0, 0, 0, 0, 1, 1, 2, 2, 2},
        std::vector<int>{0, 1, 0, 1, 2, 2, 1, 0}, std::vector<int>{0, 1, 0, 1}}) {
    CHECK(comm::racks_by_rate(rates(racks, 12, 5)) == racks);
    for (unsigned seed = 1; seed <= 20; ++seed) {
      CHECK(comm::racks_by_rate(rates(racks, 12, 5, 0.08, seed)) == racks);
      CHECK(comm::racks_by_rate(rates(racks, 12, 7.5, 0.03, seed)) == racks);
    }
  }
}

TEST_CASE("racks: none among equal nodes, whatever the noise") {
  for (const std::size_t n : {4U, 5U, 8U, 16U}) {
    const std::vector<int> none(n, 0);
    CHECK(comm::racks_by_rate(rates(none, 12, 12)) == none);  // ties everywhere
    for (unsigned seed = 1; seed <= 50; ++seed)
      CHECK(comm::racks_by_rate(rates(none, 12, 12, 0.08, seed)) == none);
  }
  // A gap that is there, but too narrow to pay.
  const std::vector<int> halves = {0, 0, 0, 0, 1, 1, 1, 1};
  CHECK(comm::racks_by_rate(rates(halves, 12, 10)) == std::vector<int>(8, 0));
  for (const std::size_t few : {0U, 1U, 2U, 3U})
    CHECK(comm::racks_by_rate(rates(std::vector<int>(few, 0), 12, 12)) == std::vector<int>(few, 0));
}

TEST_CASE("racks: a slow node is no rack, and belongs to one where there are some") {
  Matrix alike = rates(std::vector<int>(8, 0), 12, 12, 0.03);
  slow(alike, 3, 4);
  CHECK(comm::racks_by_rate(alike) == std::vector<int>(8, 0));
  const std::vector<int> halves = {0, 0, 0, 0, 1, 1, 1, 1};
  for (unsigned seed = 1; seed <= 20; ++seed) {
    Matrix racks = rates(halves, 12, 4, 0.03, seed);
    slow(racks, 2, 6);
    CHECK(comm::racks_by_rate(racks) == halves);
    // So slow that the uplink does not show: anywhere, but the others stay apart.
    racks = rates(halves, 12, 4, 0.03, seed);
    slow(racks, 2, 2);
    std::vector<int> found = comm::racks_by_rate(racks);
    found[2] = 0;
    CHECK(found == halves);
  }
  // Only one node apart from the others: that is a node, not a rack.
  CHECK(comm::racks_by_rate(rates({0, 0, 0, 0, 1}, 12, 5)) == std::vector<int>(5, 0));
  // A node alone in a rack looks like a slow one, and goes with others.
  std::vector<int> found = comm::racks_by_rate(rates({0, 0, 0, 1, 1, 2}, 12, 5));
  found.pop_back();
  CHECK(found == std::vector<int>{0, 0, 0, 1, 1});
  // A pair that did not talk at all.
  Matrix broken = rates(halves, 12, 5);
  broken[0][5] = broken[5][0] = 0;
  CHECK(comm::racks_by_rate(broken) == halves);
}

TEST_CASE("racks: what is said of them, and a machine file that keeps them") {
  const comm::RackMeasurement two{{"n0", "n1", "n2", "n3"}, {0, 1, 0, 1}, 12.5e6, 4e6, 1};
  CHECK(two.description() == "2 racks: n0 n2 | n1 n3; pairs inside at 12.5 MB/s, across at 4 MB/s");
  const comm::RackMeasurement none{{"n0", "n1", "n2", "n3"}, {0, 0, 0, 0}, 25e6, 0, 1};
  CHECK(none.description() == "none: all pairs of nodes alike, at 25 MB/s");
  CHECK(none.racks() == 1);
  CHECK(comm::RackMeasurement{{"n0"}, {0}, 0, 0, 0}.description() ==
        "none looked for: fewer than four nodes");
  const TemporaryFolder folder;
  const std::string path = folder.file("topology.toml");
  app::write_racks(two.rack_of_host(), path);
  CHECK(app::read_machine_file(path).rack_of_host ==
        std::map<std::string, std::string>{{"n0", "r0"}, {"n1", "r1"}, {"n2", "r0"}, {"n3", "r1"}});
}
