// SPDX-License-Identifier: MIT
// Cases of random operations: every backend draws the same bits.
#include <fmt/format.h>

#include "backends/selftest/case.hpp"

namespace isaribi::selftest {
namespace {

using core::DType;
using core::Shape;

void add_dropout_cases(CaseList& list, DType type) {
  const core::Philox key(42, core::Purpose::dropout, 17);
  for (const Shape& s : {Shape{1}, Shape{0, 3}, Shape{5, 7}, Shape{3, 4, 5, 6}, Shape{70, 129}}) {
    for (const double p : {0.0, 0.1, 0.5, 0.999}) {
      for (const bool in_place : {false, true}) {
        const auto text = fmt::format("{}, p {}{}", s.text(), p, in_place ? ", in place" : "");
        list.add(api::Op::dropout, type, text, [=](Trial& t) {
          const Bound bound = Bound::relative(type);
          api::Dropout a;
          a.x = in_place ? t.inout("x", s, type, {}, bound) : t.in("x", s, type);
          // Global ids, up to the largest, repeated, in no order.
          a.ids = t.in("ids", {s[0]}, DType::i32,
                       Values::list({7.0, 0.0, 2147483647.0, 60000.0, 7.0, 123456.0}));
          a.y = in_place ? a.x : t.out("y", s, type, bound);
          a.p = p;
          a.key = key;
          t.backend().random().dropout(a);
        });
      }
    }
  }
}

void add_draw_cases(CaseList& list, DType type) {
  const core::Philox key(1ull << 40, core::Purpose::init, 3);
  for (const Shape& s : {Shape{0}, Shape{1}, Shape{2}, Shape{7}, Shape{31, 33}, Shape{20001}}) {
    for (const std::uint64_t coordinate : {0ull, 5ull, 1ull << 33}) {
      const auto text = fmt::format("{}, coordinate {}", s.text(), coordinate);
      list.add(api::Op::random_uniform, type, text, [=](Trial& t) {
        t.backend().random().uniform({t.out("x", s, type, Bound::exact()), key, coordinate});
      });
      list.add(api::Op::random_normal, type, text, [=](Trial& t) {
        // In f64 whatever the type; |element| <= r < 7, and sin, cos are good to about r eps.
        const std::vector<double> scale(static_cast<std::size_t>(s.count()), 7.0);
        const Bound bound = Bound::given(DType::f64, 0, scale);
        t.backend().random().normal({t.out("x", s, type, bound), key, coordinate});
      });
    }
  }
}

}  // namespace

void add_random_cases(CaseList& list) {
  for (const DType type : kRealTypes) {
    add_dropout_cases(list, type);
    add_draw_cases(list, type);
  }
}

}  // namespace isaribi::selftest
