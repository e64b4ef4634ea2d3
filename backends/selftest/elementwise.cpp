// SPDX-License-Identifier: MIT
// Cases of the remaining elementwise operations, concatenation and small reductions.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <span>

#include "backends/selftest/case.hpp"

namespace isaribi::selftest {
namespace {

using core::DType;
using core::Shape;

const Shape kShapes[] = {{0},     {1}, {7}, {17}, {0, 5}, {5, 13, 3}, {64, 129}, {3, 31, 33, 17},
                         {200003}};

void add_add_cases(CaseList& list, DType type) {
  for (const Shape& s : kShapes) {
    for (const api::Activation activation : {api::Activation::none, api::Activation::relu}) {
      for (const char* alias : {"", "a", "b"}) {
        const std::string same = alias;
        const auto text = fmt::format("{}, {}{}{}", s.text(), api::name_of(activation),
                                      same.empty() ? "" : ", y is ", same);
        list.add(api::Op::add, type, text, [=](Trial& t) {
          const Bound bound = Bound::absolute(type, 0);
          api::Add a;
          a.a = same == "a" ? t.inout("a", s, type, {}, bound) : t.in("a", s, type);
          a.b = same == "b" ? t.inout("b", s, type, {}, bound) : t.in("b", s, type);
          a.y = same == "a" ? a.a : same == "b" ? a.b : t.out("y", s, type, bound);
          a.activation = activation;
          t.backend().elementwise().add(a);
        });
      }
    }
  }
}

void add_multiply_cases(CaseList& list, DType type) {
  for (const Shape& s : kShapes) {
    for (const bool alias : {false, true}) {
      list.add(api::Op::multiply, type, fmt::format("{}{}", s.text(), alias ? ", y is a" : ""),
               [=](Trial& t) {
                 const Bound bound = Bound::absolute(type, 0);
                 api::Multiply a;
                 a.a = alias ? t.inout("a", s, type, {}, bound) : t.in("a", s, type);
                 a.b = t.in("b", s, type);
                 a.y = alias ? a.a : t.out("y", s, type, bound);
                 t.backend().elementwise().multiply(a);
               });
    }
  }
}

void add_axpby_cases(CaseList& list, DType x_type) {
  struct Scalars {
    double alpha, beta;
  };
  for (const Shape& s : kShapes) {
    for (const DType y_type : kRealTypes) {
      for (const Scalars k : {Scalars{1.0, 0.0}, {0.1, 0.9}, {-2.0, 1.0}, {0.0, 0.5}}) {
        const auto text =
            fmt::format("{} {} x + {} y, y {}", s.text(), k.alpha, k.beta, core::name_of(y_type));
        list.add(api::Op::axpby, x_type, text, [=](Trial& t) {
          const Bound bound = Bound::absolute(y_type, 0);
          api::Axpby a;
          a.alpha = t.scalar(k.alpha);
          a.beta = t.scalar(k.beta);
          a.x = t.in("x", s, x_type);
          a.y = k.beta == 0.0 ? t.out("y", s, y_type, bound) : t.inout("y", s, y_type, {}, bound);
          t.backend().elementwise().axpby(a);
        });
      }
    }
  }
}

void add_fill_cases(CaseList& list) {
  const std::vector<double> whole = {0.0, 1.0, 3.0, 100.0};
  const std::vector<double> fractions = {0.1, -2.5, 1e-3};
  for (const DType type :
       {DType::f64, DType::f32, DType::f16, DType::bf16, DType::i8, DType::u8, DType::i32}) {
    std::vector<double> values = whole;
    if (epsilon_of(type) > 0.0) values.insert(values.end(), fractions.begin(), fractions.end());
    for (const Shape& s : kShapes) {
      for (const double value : values) {
        list.add(api::Op::fill, type, fmt::format("{} with {}", s.text(), value), [=](Trial& t) {
          t.backend().elementwise().fill({t.out("y", s, type, Bound::exact()), value});
        });
      }
    }
  }
}

const Shape kChannelShapes[] = {{1, 1},       {0, 3},        {5, 17},        {0, 4, 4, 6},
                                {2, 5, 5, 6}, {3, 4, 5, 16}, {40, 3, 3, 33}, {33, 13, 13, 3},
                                {300, 64},    {6000, 33}};

void add_bias_cases(CaseList& list, DType type) {
  for (const Shape& s : kChannelShapes) {
    for (const bool in_place : {false, true}) {
      list.add(api::Op::add_bias, type, s.text() + (in_place ? ", in place" : ""), [=](Trial& t) {
        const Bound bound = Bound::absolute(type, 0);
        api::AddBias a;
        a.x = in_place ? t.inout("x", s, type, {}, bound) : t.in("x", s, type);
        a.bias = t.in("bias", {s.back()}, type);
        a.y = in_place ? a.x : t.out("y", s, type, bound);
        t.backend().elementwise().add_bias(a);
      });
    }
    for (const DType out : {type, DType::f64}) {
      for (const bool accumulate : {false, true}) {
        const auto text = fmt::format("{}, db {}{}", s.text(), core::name_of(out),
                                      accumulate ? ", accumulate" : "");
        list.add(api::Op::bias_gradient, type, text, [=](Trial& t) {
          // Summed in f64; the result alone is rounded to the type of db.
          const Bound bound =
              Bound::absolute(DType::f64, s.count() / std::max<std::int64_t>(s.back(), 1));
          api::BiasGradient a;
          a.dy = t.in("dy", s, type);
          a.db = accumulate ? t.inout("db", {s.back()}, out, {}, bound)
                            : t.out("db", {s.back()}, out, bound);
          a.accumulate = accumulate;
          t.backend().elementwise().bias_gradient(a);
        });
      }
    }
  }
}

void add_concat_cases(CaseList& list, DType type) {
  struct Row {
    std::vector<std::int64_t> leading, channels;
  };
  const Row rows[] = {{{1}, {1}},
                      {{0, 3, 3}, {2, 3}},
                      {{5}, {3, 1, 6}},
                      {{2, 4, 5}, {16, 17}},
                      {{3, 7, 7}, {1, 32, 3, 64}},
                      {{70}, {10, 20}}};
  const auto with_channels = [](const Row& r, std::int64_t c) {
    std::vector<std::int64_t> extents = r.leading;
    extents.push_back(c);
    return Shape(std::span<const std::int64_t>(extents));
  };
  for (const Row& r : rows) {
    std::int64_t sum = 0;
    std::vector<Shape> parts;
    for (const std::int64_t c : r.channels) {
      parts.push_back(with_channels(r, c));
      sum += c;
    }
    const Shape whole = with_channels(r, sum);
    const auto text = fmt::format("{} parts, {}", parts.size(), whole.text());
    list.add(api::Op::concat, type, text, [=](Trial& t) {
      api::Concat a;
      for (const Shape& s : parts) a.parts.push_back(t.in("part", s, type));
      a.y = t.out("y", whole, type, Bound::exact());
      t.backend().elementwise().concat(a);
    });
    for (const DType part_type : kRealTypes) {
      const auto added = fmt::format("{} of {} with addends", text, core::name_of(part_type));
      list.add(api::Op::concat, type, added, [=](Trial& t) {
        api::Concat a;
        for (const Shape& s : parts) {
          a.parts.push_back(t.in("part", s, part_type));
          a.addends.push_back(t.in("addend", s, type));
          a.scales.push_back(t.scalar(0.25 - static_cast<double>(a.scales.size())));
        }
        a.y = t.out("y", whole, type, Bound::absolute(type, 1));
        t.backend().elementwise().concat(a);
      });
    }
    const DType other = type == DType::f32 ? DType::f64 : DType::f32;
    list.add(api::Op::concat, type, fmt::format("{} of {}", text, core::name_of(other)),
             [=](Trial& t) {
               api::Concat a;
               for (const Shape& s : parts) a.parts.push_back(t.in("part", s, other));
               a.y = t.out("y", whole, type, Bound::exact());
               t.backend().elementwise().concat(a);
             });
    list.add(api::Op::split, type, text, [=](Trial& t) {
      api::Split a;
      a.x = t.in("x", whole, type);
      for (const Shape& s : parts) a.parts.push_back(t.out("part", s, type, Bound::exact()));
      t.backend().elementwise().split(a);
    });
  }
}

void add_dot_cases(CaseList& list, DType type) {
  for (const Shape& s : {Shape{0}, Shape{1}, Shape{17}, Shape{64, 129}, Shape{100003}}) {
    list.add(api::Op::dot, type, s.text(), [=](Trial& t) {
      const core::Tensor a = t.in("a", s, type), b = t.in("b", s, type);
      t.result("dot", t.backend().elementwise().dot(a, b), Bound::absolute(DType::f64, s.count()));
      const double again = t.backend().elementwise().dot(a, b);
      t.measure("difference of two calls", std::fabs(again - t.numbers().back().value), 1e-300);
    });
    list.add(api::Op::dot, type, s.text() + " with itself", [=](Trial& t) {
      const core::Tensor a = t.in("a", s, type);
      t.result("dot", t.backend().elementwise().dot(a, a), Bound::absolute(DType::f64, s.count()));
    });
  }
}

void add_argmax_cases(CaseList& list, DType type) {
  for (const Shape& s : {Shape{1, 1}, Shape{0, 10}, Shape{5, 3}, Shape{70, 10}, Shape{3, 1000}}) {
    for (const double levels : {1e9, 3.0, 1.0}) {  // no ties, many ties, nothing but ties
      list.add(
          api::Op::argmax, type, fmt::format("{}, {} levels", s.text(), levels), [=](Trial& t) {
            const Values values(
                [=](std::int64_t, double d) { return std::floor(levels * d) - 5.0; });
            const core::Tensor x = t.in("x", s, type, values);
            t.backend().elementwise().argmax(x, t.out("index", {s[0]}, DType::i32, Bound::exact()));
          });
    }
  }
}

}  // namespace

void add_elementwise_cases(CaseList& list) {
  add_fill_cases(list);
  for (const DType type : kRealTypes) {
    add_add_cases(list, type);
    add_multiply_cases(list, type);
    add_axpby_cases(list, type);
    add_bias_cases(list, type);
    add_concat_cases(list, type);
    add_dot_cases(list, type);
    add_argmax_cases(list, type);
  }
}

}  // namespace isaribi::selftest
