// SPDX-License-Identifier: MIT
// core: types, shapes, tensors, random numbers, timers.
#include <cmath>
#include <limits>

#include "catch.hpp"
#include "core/dtype.hpp"
#include "core/error.hpp"
#include "core/rng.hpp"
#include "core/tensor.hpp"
#include "core/timer.hpp"

using namespace isaribi::core;

TEST_CASE("every half value survives the way to float and back") {
  for (std::uint32_t bits = 0; bits < 0x10000u; ++bits) {
    Half h;
    h.bits = static_cast<std::uint16_t>(bits);
    const auto f = static_cast<float>(h);
    if (std::isnan(f)) {
      REQUIRE(std::isnan(static_cast<float>(Half(f))));
    } else {
      REQUIRE(Half(f).bits == h.bits);
    }
  }
}

TEST_CASE("half and bfloat16 round to nearest, ties to even") {
  CHECK(static_cast<float>(Half(2049.0f)) == 2048.0f);  // between 2048 and 2050
  CHECK(static_cast<float>(Half(2051.0f)) == 2052.0f);
  CHECK(std::isinf(static_cast<float>(Half(65520.0f))));
  CHECK(static_cast<float>(Half(65519.0f)) == 65504.0f);
  CHECK(static_cast<float>(Half(0x1p-25f)) == 0.0f);  // tie between 0 and the smallest subnormal
  CHECK(static_cast<float>(Half(0x1.8p-25f)) == 0x1p-24f);
  CHECK(static_cast<float>(BFloat16(1.00390625f)) == 1.0f);  // 1 + 2^-8: tie, to even
  CHECK(static_cast<float>(BFloat16(1.01171875f)) == 1.015625f);
  CHECK(std::isnan(static_cast<float>(BFloat16(std::numeric_limits<float>::quiet_NaN()))));
}

TEST_CASE("shapes count, reshape and refuse overflow") {
  const Shape s{32, 28, 28, 3};
  CHECK(s.count() == 32 * 28 * 28 * 3);
  CHECK(s.count_per_sample() == 28 * 28 * 3);
  CHECK(s.back() == 3);
  CHECK(s.with_batch(0).count() == 0);
  CHECK(Shape{5}.batched(2) == Shape{2, 5});
  CHECK(s.text() == "[32, 28, 28, 3]");
  CHECK_THROWS_AS((Shape{std::int64_t{1} << 40, std::int64_t{1} << 40}), UsageError);
  CHECK_THROWS_AS((Shape{-1}), UsageError);
}

TEST_CASE("tensors share memory, slice rows and check their type") {
  Tensor t = Tensor::zeros({4, 3}, DType::f32);
  Tensor row = t.rows(2, 3);
  row.data<float>()[1] = 7.0f;
  CHECK(t.data<float>()[7] == 7.0f);
  CHECK(row.shape() == Shape{1, 3});
  CHECK_THROWS_AS(t.data<double>(), InternalError);
  CHECK_THROWS_AS(t.rows(3, 5), InternalError);
  CHECK_THROWS_AS(t.reshaped({5}), ShapeError);
  CHECK(Tensor({0, 3}, DType::f32).defined());
}

TEST_CASE("Philox4x32-10 gives the published words") {
  // Known answers of Salmon et al.'s Random123 distribution: all zeros, all ones, and the digits of
  // pi.
  const Words4 zero = philox4x32({{0, 0, 0, 0}}, 0, 0);
  CHECK(zero.w[0] == 0x6627e8d5u);
  CHECK(zero.w[1] == 0xe169c58du);
  CHECK(zero.w[2] == 0xbc57ac4cu);
  CHECK(zero.w[3] == 0x9b00dbd8u);
  const std::uint32_t m = 0xffffffffu;
  const Words4 ones = philox4x32({{m, m, m, m}}, m, m);
  CHECK(ones.w[0] == 0x408f276du);
  CHECK(ones.w[3] == 0x6d5451fdu);
  const Words4 pi =
      philox4x32({{0x243f6a88u, 0x85a308d3u, 0x13198a2eu, 0x03707344u}}, 0xa4093822u, 0x299f31d0u);
  CHECK(pi.w[0] == 0xd16cfe09u);
  CHECK(pi.w[3] == 0x24126ea1u);
}

TEST_CASE("random streams differ by every key and are uniform") {
  const Philox a(1, Purpose::init, 0), b(1, Purpose::shuffle, 0), c(1, Purpose::init, 1),
      d(2, Purpose::init, 0);
  CHECK(a.word(0, 0) != b.word(0, 0));
  CHECK(a.word(0, 0) != c.word(0, 0));
  CHECK(a.word(0, 0) != d.word(0, 0));
  CHECK(a.word(0, 0) != a.word(1, 0));
  double sum = 0, sum2 = 0;
  const int n = 100000;
  for (int i = 0; i < n; ++i) {
    const double u = a.uniform(3, static_cast<std::uint64_t>(i));
    REQUIRE((u >= 0 && u < 1));
    sum += u;
    sum2 += u * u;
  }
  CHECK(sum / n == Approx(0.5).margin(0.005));
  CHECK(sum2 / n == Approx(1.0 / 3).margin(0.005));
}

TEST_CASE("phases add up and are observed") {
  PhaseTimers timers;
  std::string seen;
  timers.add_observer([&](std::string_view name) { seen += name.empty() ? "." : name; });
  {
    auto outer = timers.phase("step");
    auto inner = timers.phase("forward");
  }
  CHECK(seen == "stepforward..");
  CHECK(timers.seconds_of("step") >= timers.seconds_of("forward"));
  CHECK(timers.seconds_of("nothing") == 0.0);
}
