// SPDX-License-Identifier: MIT
// The kernels of a reduction against core's own conversions and plain loops.
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "catch.hpp"
#include "comm/allreduce/sums.hpp"
#include "core/error.hpp"

using namespace isaribi;
using core::DType;

namespace {

/// Floats around every value of a 16-bit type: itself, its neighbours, the middle to the next one
/// and the neighbours of that; and what has no such type.
template <typename Wire>
std::vector<float> hard_floats() {
  std::vector<float> all{
      std::numeric_limits<float>::denorm_min(), std::numeric_limits<float>::min(),
      std::numeric_limits<float>::max(),        std::numeric_limits<float>::lowest(),
      std::bit_cast<float>(0x7f800001U),        std::bit_cast<float>(0xffbfffffU),
      std::bit_cast<float>(0x7fffffffU)};
  for (std::uint32_t pattern = 0; pattern < 65536; ++pattern) {
    Wire narrow, next;
    narrow.bits = static_cast<std::uint16_t>(pattern);
    next.bits = static_cast<std::uint16_t>(pattern + 1);
    const float value = static_cast<float>(narrow);
    const float middle = static_cast<float>((double{value} + double{static_cast<float>(next)}) / 2);
    for (const float x : {value, middle}) {
      const auto bits = std::bit_cast<std::uint32_t>(x);
      for (const std::uint32_t b : {bits - 1, bits, bits + 1})
        all.push_back(std::bit_cast<float>(b));
    }
  }
  return all;
}

template <typename Wire>
void narrows_like_core(DType wire) {
  const std::vector<float> from = hard_floats<Wire>();
  const auto n = static_cast<std::int64_t>(from.size());
  std::vector<std::uint16_t> to(from.size());
  comm::sum_kernels(DType::f32, wire).narrow(from.data(), to.data(), n);
  const std::vector<double> doubles(from.begin(), from.end());
  std::vector<std::uint16_t> of_doubles(from.size());
  comm::sum_kernels(DType::f64, wire).narrow(doubles.data(), of_doubles.data(), n);
  std::int64_t wrong = 0, wrong_of_doubles = 0, not_nan = 0;
  for (std::size_t i = 0; i < from.size(); ++i) {
    Wire got;
    got.bits = to[i];
    if (std::isnan(from[i])) {
      not_nan += std::isnan(static_cast<float>(got)) ? 0 : 1;
      got.bits = of_doubles[i];
      not_nan += std::isnan(static_cast<float>(got)) ? 0 : 1;
      wrong += std::signbit(static_cast<float>(got)) == std::signbit(from[i]) ? 0 : 1;
    } else {
      wrong += to[i] == Wire(from[i]).bits ? 0 : 1;
      wrong_of_doubles += of_doubles[i] == Wire(from[i]).bits ? 0 : 1;
    }
  }
  CHECK(not_nan == 0);
  CHECK(wrong == 0);
  CHECK(wrong_of_doubles == 0);
}

template <typename Wire, typename T>
void widens_every_pattern(DType type, DType wire) {
  std::vector<std::uint16_t> patterns(65536), back(65536);
  for (std::size_t i = 0; i < patterns.size(); ++i) patterns[i] = static_cast<std::uint16_t>(i);
  std::vector<T> wide(65536);
  const comm::SumKernels kernels = comm::sum_kernels(type, wire);
  kernels.widen(patterns.data(), wide.data(), 65536);
  kernels.narrow(wide.data(), back.data(), 65536);
  std::int64_t wrong = 0;
  for (std::size_t i = 0; i < patterns.size(); ++i) {
    Wire narrow;
    narrow.bits = patterns[i];
    const auto expected = static_cast<float>(narrow);
    if (std::isnan(expected)) {
      wrong += std::isnan(wide[i]) ? 0 : 1;
    } else {
      wrong +=
          wide[i] == static_cast<T>(expected) && std::signbit(wide[i]) == std::signbit(expected)
              ? 0
              : 1;
      wrong += back[i] == patterns[i] ? 0 : 1;
    }
  }
  CHECK(wrong == 0);
}

template <typename T>
void adds(DType type) {
  for (const std::int64_t n : {0, 1, 7, 16, 33, 1000}) {
    std::vector<T> y, x, expected;
    for (std::int64_t i = 0; i < n + 1; ++i) {
      y.push_back(static_cast<T>(i * i % 1013) / T(3));
      x.push_back(static_cast<T>(i * 7 % 101) / T(7));
      expected.push_back(i < n ? y.back() + x.back() : y.back());  // one beyond the end stays
    }
    comm::sum_kernels(type, type).add(y.data(), x.data(), n);
    CHECK(y == expected);
  }
}

}  // namespace

TEST_CASE("sums: bf16 and f16 round as core does, from f32 and f64") {
  narrows_like_core<core::BFloat16>(DType::bf16);
  narrows_like_core<core::Half>(DType::f16);
}

TEST_CASE("sums: every 16-bit pattern widens exactly and comes back") {
  widens_every_pattern<core::BFloat16, float>(DType::f32, DType::bf16);
  widens_every_pattern<core::BFloat16, double>(DType::f64, DType::bf16);
  widens_every_pattern<core::Half, float>(DType::f32, DType::f16);
  widens_every_pattern<core::Half, double>(DType::f64, DType::f16);
}

TEST_CASE("sums: addition in the type of the buffer") {
  adds<float>(DType::f32);
  adds<double>(DType::f64);
  adds<std::int32_t>(DType::i32);
  std::int32_t most = std::numeric_limits<std::int32_t>::max();
  const std::int32_t one = 1;
  comm::sum_kernels(DType::i32, DType::i32).add(&most, &one, 1);
  CHECK(most == std::numeric_limits<std::int32_t>::min());  // wraps, as MPI_SUM
}

TEST_CASE("sums: f64 travels as f32; its own type is copied bit by bit") {
  const double from[] = {1.0 / 3, -1e300, 1e-300, std::nan("")};
  float wire[4];
  comm::sum_kernels(DType::f64, DType::f32).narrow(from, wire, 4);
  CHECK(wire[0] == 1.0F / 3);
  CHECK(wire[1] == -std::numeric_limits<float>::infinity());
  CHECK(wire[2] == 0);
  CHECK(std::isnan(wire[3]));
  for (const DType type : {DType::f64, DType::f32, DType::i32}) {
    double copy[4] = {};
    const auto n = static_cast<std::int64_t>(sizeof(from) / core::size_of(type));
    comm::sum_kernels(type, type).narrow(from, copy, n);
    CHECK(std::memcmp(from, copy, sizeof(from)) == 0);
    std::memset(copy, 0, sizeof(copy));
    comm::sum_kernels(type, type).widen(from, copy, n);
    CHECK(std::memcmp(from, copy, sizeof(from)) == 0);
  }
}

TEST_CASE("sums: pairs of types that there are, and the others") {
  const DType types[] = {DType::f64, DType::f32, DType::f16, DType::bf16,
                         DType::i8,  DType::u8,  DType::i32};
  for (const DType type : types) {
    for (const DType wire : types) {
      const bool floating = type == DType::f64 || type == DType::f32;
      const bool good =
          (type == wire && (floating || type == DType::i32)) ||
          (floating && (wire == DType::f32 || wire == DType::f16 || wire == DType::bf16));
      INFO(core::name_of(type) << " as " << core::name_of(wire));
      if (good) {
        const comm::SumKernels kernels = comm::sum_kernels(type, wire);
        CHECK((kernels.add != nullptr && kernels.narrow != nullptr && kernels.widen != nullptr));
        continue;
      }
      try {
        comm::sum_kernels(type, wire);
        FAIL_CHECK("accepted");
      } catch (const core::UsageError& error) {
        CHECK(error.cause() == "no sum of " + std::string(core::name_of(type)) + " travels as " +
                                   std::string(core::name_of(wire)));
        CHECK_FALSE(error.hint().empty());
      }
    }
  }
}
