// SPDX-License-Identifier: MIT
// Cases of conversions (all 49 pairs of types, rounding and saturation exact) and packed triangles.
// A cast is listed under the type it converts from.
#include <fmt/format.h>

#include <limits>

#include "backends/selftest/case.hpp"

namespace isaribi::selftest {
namespace {

using core::DType;
using core::Shape;

constexpr DType kTypes[] = {DType::f64, DType::f32, DType::f16, DType::bf16,
                            DType::i8,  DType::u8,  DType::i32};

/// Ties, saturation, infinities, NaN, subnormals, and what two roundings in a row get wrong.
std::vector<double> special_values() {
  constexpr double kInf = std::numeric_limits<double>::infinity();
  return {0.0,
          -0.0,
          1.0,
          -1.0,
          0.5,
          1.5,
          2.5,
          -0.5,
          -1.5,
          -2.5,
          126.5,
          127.5,
          128.0,
          -128.5,
          -129.0,
          254.5,
          255.5,
          256.0,
          -0.51,
          300.0,
          -300.0,
          2049.0,
          2051.0,
          65504.0,
          65519.0,
          65520.0,
          -65520.0,
          1e9,
          -1e9,
          3e9,
          -3e9,
          1e-3,
          0x1p-24,
          0x1p-25,
          6e-8,
          0x1.8p-25,
          0x1p-14,
          1e-40,
          1e-45,
          1e39,
          -1e39,
          1e300,
          1e-300,
          kInf,
          -kInf,
          16777217,
          2147483647,
          -2147483648.0,
          1.0 + 0x1p-8,
          1.0 + 0x1p-11,
          1.0 + 0x1p-11 + 0x1p-40,
          1.0 + 0x1p-8 + 0x1p-40,
          1.0 + 0x1p-24,
          1.0 + 0x1p-24 + 0x1p-50,
          std::numeric_limits<double>::quiet_NaN()};
}

void add_cast(CaseList& list, DType from, DType to, const Shape& s, const Values& values,
              const char* what) {
  const auto text = fmt::format("{} {}, {}", core::name_of(to), s.text(), what);
  list.add(api::Op::cast, from, "to " + text, [=](Trial& t) {
    const core::Tensor x = t.in("x", s, from, values);
    t.backend().cast().cast(x, t.out("y", s, to, Bound::exact()));
  });
}

void add_triangle_cases(CaseList& list, DType type) {
  for (const std::int64_t n : {0, 1, 2, 5, 33, 130}) {
    const Shape full{n, n}, packed{n * (n + 1) / 2};
    list.add(api::Op::pack_triangle, type, full.text(), [=](Trial& t) {
      const core::Tensor x = t.in("full", full, type);
      t.backend().cast().pack_triangle(x, t.out("packed", packed, type, Bound::exact()));
    });
    list.add(api::Op::unpack_triangle, type, full.text(), [=](Trial& t) {
      const core::Tensor x = t.in("packed", packed, type);
      t.backend().cast().unpack_triangle(x, t.out("full", full, type, Bound::exact()));
    });
  }
}

}  // namespace

void add_cast_cases(CaseList& list) {
  const Values special = Values::list(special_values());
  const auto count = static_cast<std::int64_t>(special_values().size());
  for (const DType from : kTypes) {
    for (const DType to : kTypes) {
      add_cast(list, from, to, {0}, {}, "empty");
      add_cast(list, from, to, {count}, special, "special values");
      add_cast(list, from, to, {61, 83}, Values::uniform(-300.0, 300.0), "up to 300");
      add_cast(list, from, to, {1001}, {}, "up to 1");
    }
  }
  for (const DType type : kRealTypes) add_triangle_cases(list, type);
}

}  // namespace isaribi::selftest
