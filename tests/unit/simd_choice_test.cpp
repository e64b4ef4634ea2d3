// SPDX-License-Identifier: MIT
// Which instruction set comes first: the widest, unless it is slower every time it is measured. One
// disturbed measurement must not change the bits of a run.
#include "backends/simd/cpu.hpp"
#include "catch.hpp"

using namespace isaribi;

namespace {

/// The first level when round k finds the wide one at speeds[k] of the narrow one; the last value
/// stays. `rounds` counts the measurements.
std::string first_level(const std::vector<double>& speeds, std::size_t& rounds) {
  simd::Kernels narrow{}, wide{};
  narrow.isa = "narrow";
  wide.isa = "wide";
  rounds = 0;
  const auto time = [&](std::vector<simd::Level>& levels) {
    const double speed = speeds[std::min(rounds++, speeds.size() - 1)];
    for (simd::Level& level : levels)
      level.gflops = std::string(level.kernels->isa) == "wide" ? 100 * speed : 100;
  };
  const auto ranked =
      simd::rank_levels({{&narrow, 0}, {&wide, 0}}, time, std::chrono::milliseconds(0));
  REQUIRE(ranked.size() == 2);
  return ranked.front().kernels->isa;
}

}  // namespace

TEST_CASE("the widest instruction set comes first unless it is slower every time") {
  std::size_t rounds = 0;
  CHECK(first_level({2.0}, rounds) == "wide");
  CHECK(rounds == 1);
  CHECK(first_level({0.9}, rounds) == "wide");  // not clearly slower
  CHECK(rounds == 1);
  CHECK(first_level({0.3, 1.0}, rounds) == "wide");  // one disturbed round
  CHECK(rounds == 2);
  CHECK(first_level({0.5, 0.5, 0.4, 1.1}, rounds) == "wide");
  CHECK(first_level({0.5}, rounds) == "narrow");
  CHECK(rounds > 2);
  CHECK(simd::rank_levels(
            {}, [](auto&) {}, std::chrono::milliseconds(0))
            .empty());
}
