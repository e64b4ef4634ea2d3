// SPDX-License-Identifier: MIT
// The kernels of a reduction, those that run anywhere and those of every instruction set of this
// CPU, against core's own conversions and plain loops.
#include <bit>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "backends/simd/cpu.hpp"
#include "backends/simd/sums.hpp"
#include "catch.hpp"
#include "comm/allreduce/sums.hpp"
#include "core/error.hpp"

using namespace isaribi;
using core::DType;

namespace {

/// The kernels to be tested, by name.
struct Source {
  std::string name;
  std::function<core::SumKernels(DType, DType)> of;
};

std::vector<Source> sources() {
  std::vector<Source> all{{"anywhere", [](DType t, DType w) { return comm::sum_kernels(t, w); }}};
  for (const simd::Level& level : simd::available_levels()) {
    const simd::Kernels* k = level.kernels;
    all.push_back({k->isa, [k](DType t, DType w) { return simd::sum_kernels(*k, t, w); }});
  }
  return all;
}

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
void narrows_like_core(const Source& kernels, DType wire) {
  const std::vector<float> from = hard_floats<Wire>();
  const auto n = static_cast<std::int64_t>(from.size());
  std::vector<std::uint16_t> to(from.size());
  kernels.of(DType::f32, wire).narrow(from.data(), to.data(), n);
  const std::vector<double> doubles(from.begin(), from.end());
  std::vector<std::uint16_t> of_doubles(from.size());
  kernels.of(DType::f64, wire).narrow(doubles.data(), of_doubles.data(), n);
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
void widens_every_pattern(const Source& source, DType type, DType wire) {
  std::vector<std::uint16_t> patterns(65536), back(65536);
  for (std::size_t i = 0; i < patterns.size(); ++i) patterns[i] = static_cast<std::uint16_t>(i);
  std::vector<T> wide(65536);
  const core::SumKernels kernels = source.of(type, wire);
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

/// Any count, and from any address; one beyond the end stays.
template <typename T>
void adds(const Source& kernels, DType type) {
  for (const std::int64_t n : {0, 1, 7, 16, 33, 1000}) {
    std::vector<T> y, x, expected;
    for (std::int64_t i = 0; i < n + 1; ++i) {
      y.push_back(static_cast<T>(i * i % 1013) / T(3));
      x.push_back(static_cast<T>(i * 7 % 101) / T(7));
      expected.push_back(i < n ? y.back() + x.back() : y.back());
    }
    std::vector<std::byte> anywhere(x.size() * sizeof(T) + 1);
    std::memcpy(anywhere.data() + 1, x.data(), x.size() * sizeof(T));
    kernels.of(type, type).add(y.data(), anywhere.data() + 1, n);
    CHECK(y == expected);
  }
}

/// A few elements, from an odd address to an odd address, are converted as many are.
void converts_few(const Source& source, DType type, DType wire) {
  const core::SumKernels kernels = source.of(type, wire);
  const std::size_t width = core::size_of(type), narrow = core::size_of(wire);
  constexpr std::size_t kMany = 70;
  std::vector<std::byte> from(kMany * width), to(kMany * narrow), back(kMany * width);
  for (std::size_t i = 0; i < kMany; ++i) {
    const double x = std::ldexp(1.0 + static_cast<double>(i) / 77, static_cast<int>(i % 9) - 4);
    const auto single = static_cast<float>(x);
    std::memcpy(from.data() + i * width,
                type == DType::f64 ? static_cast<const void*>(&x) : &single, width);
  }
  kernels.narrow(from.data(), to.data(), kMany);
  kernels.widen(to.data(), back.data(), kMany);
  for (std::size_t n = 0; n < kMany; ++n) {
    std::vector<std::byte> x(1 + n * width), y(2 + n * narrow, std::byte{7}),
        z(2 + n * width, std::byte{7});
    std::memcpy(x.data() + 1, from.data(), n * width);
    kernels.narrow(x.data() + 1, y.data() + 1, static_cast<std::int64_t>(n));
    kernels.widen(y.data() + 1, z.data() + 1, static_cast<std::int64_t>(n));
    INFO(n);
    CHECK(std::memcmp(y.data() + 1, to.data(), n * narrow) == 0);
    CHECK(std::memcmp(z.data() + 1, back.data(), n * width) == 0);
    CHECK((y.back() == std::byte{7} && z.back() == std::byte{7}));  // nothing beyond the end
  }
}

}  // namespace

TEST_CASE("sums: bf16 and f16 round as core does, from f32 and f64") {
  for (const Source& kernels : sources()) {
    INFO(kernels.name);
    narrows_like_core<core::BFloat16>(kernels, DType::bf16);
    narrows_like_core<core::Half>(kernels, DType::f16);
  }
}

TEST_CASE("sums: every 16-bit pattern widens exactly and comes back") {
  for (const Source& kernels : sources()) {
    INFO(kernels.name);
    widens_every_pattern<core::BFloat16, float>(kernels, DType::f32, DType::bf16);
    widens_every_pattern<core::BFloat16, double>(kernels, DType::f64, DType::bf16);
    widens_every_pattern<core::Half, float>(kernels, DType::f32, DType::f16);
    widens_every_pattern<core::Half, double>(kernels, DType::f64, DType::f16);
  }
}

TEST_CASE("sums: addition in the type of the buffer") {
  for (const Source& kernels : sources()) {
    INFO(kernels.name);
    adds<float>(kernels, DType::f32);
    adds<double>(kernels, DType::f64);
    adds<std::int32_t>(kernels, DType::i32);
    std::int32_t most = std::numeric_limits<std::int32_t>::max();
    const std::int32_t one = 1;
    kernels.of(DType::i32, DType::i32).add(&most, &one, 1);
    CHECK(most == std::numeric_limits<std::int32_t>::min());  // wraps, as MPI_SUM
  }
}

TEST_CASE("sums: any count of elements at any address") {
  for (const Source& kernels : sources()) {
    INFO(kernels.name);
    for (const DType type : {DType::f64, DType::f32}) {
      for (const DType wire : {type, DType::f32, DType::bf16, DType::f16})
        converts_few(kernels, type, wire);
    }
  }
}

TEST_CASE("sums: f64 travels as f32; its own type is copied bit by bit") {
  const double from[] = {1.0 / 3, -1e300, 1e-300, std::nan("")};
  for (const Source& kernels : sources()) {
    INFO(kernels.name);
    float wire[4];
    kernels.of(DType::f64, DType::f32).narrow(from, wire, 4);
    CHECK(wire[0] == 1.0F / 3);
    CHECK(wire[1] == -std::numeric_limits<float>::infinity());
    CHECK(wire[2] == 0);
    CHECK(std::isnan(wire[3]));
    for (const DType type : {DType::f64, DType::f32, DType::i32}) {
      double copy[4] = {};
      const auto n = static_cast<std::int64_t>(sizeof(from) / core::size_of(type));
      kernels.of(type, type).narrow(from, copy, n);
      CHECK(std::memcmp(from, copy, sizeof(from)) == 0);
      std::memset(copy, 0, sizeof(copy));
      kernels.of(type, type).widen(from, copy, n);
      CHECK(std::memcmp(from, copy, sizeof(from)) == 0);
    }
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
      for (const Source& kernels : sources()) {
        if (!good && kernels.name == "anywhere") continue;
        const core::SumKernels found = kernels.of(type, wire);
        CHECK(good == (found.add && found.narrow && found.widen));
      }
      if (good) {
        // A source that has none is made up for.
        CHECK(comm::sum_kernels(type, wire, [](DType, DType) { return core::SumKernels{}; }));
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
