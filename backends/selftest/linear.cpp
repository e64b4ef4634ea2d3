// SPDX-License-Identifier: MIT
// Cases of fully connected layers.
#include <fmt/format.h>

#include <algorithm>

#include "backends/selftest/case.hpp"

namespace isaribi::selftest {
namespace {

using core::DType;
using core::Shape;

struct Row {
  std::int64_t n, i, o;
  std::string text() const { return fmt::format("x [{}, {}] w [{}, {}]", n, i, o, i); }
};

const Row kRows[] = {{1, 1, 1},       {0, 5, 3},      {3, 7, 5},     {1, 100, 1},  {2, 784, 10},
                     {40, 1, 64},     {65, 33, 17},   {33, 64, 100}, {100, 6, 16}, {128, 256, 32},
                     {300, 800, 130}, {16, 100, 130}, {29, 800, 517}};

void add_forward(CaseList& list, const Row& r, DType type) {
  for (const bool bias : {false, true}) {
    for (const api::Activation activation : {api::Activation::none, api::Activation::relu}) {
      const auto text =
          fmt::format("{}{}, {}", r.text(), bias ? ", bias" : "", api::name_of(activation));
      list.add(api::Op::linear_forward, type, text, [=](Trial& t) {
        api::LinearForward a;
        a.x = t.in("x", {r.n, r.i}, type);
        a.w = t.in("w", {r.o, r.i}, type);
        if (bias) a.bias = t.in("bias", {r.o}, type);
        a.y = t.out("y", {r.n, r.o}, type, Bound::absolute(type, r.i));
        a.activation = activation;
        t.backend().linear().forward(a);
      });
    }
  }
}

void add_backward_data(CaseList& list, const Row& r, DType type) {
  list.add(api::Op::linear_backward_data, type, r.text(), [=](Trial& t) {
    api::LinearBackwardData a;
    a.dy = t.in("dy", {r.n, r.o}, type);
    a.w = t.in("w", {r.o, r.i}, type);
    a.dx = t.out("dx", {r.n, r.i}, type, Bound::absolute(type, r.o));
    t.backend().linear().backward_data(a);
  });
}

void add_backward_weights(CaseList& list, const Row& r, DType type) {
  for (const DType out : {type, DType::f64}) {
    for (const bool accumulate : {false, true}) {
      if (out != type && type == DType::f64) continue;
      const bool bias = accumulate == (out == type);
      const auto text = fmt::format("{}{}{}, dw {}", r.text(), bias ? ", db" : "",
                                    accumulate ? ", accumulate" : "", core::name_of(out));
      list.add(api::Op::linear_backward_weights, type, text, [=](Trial& t) {
        const Bound bound = Bound::absolute(type, std::min(r.n, api::kSampleBlock));
        const auto gradient = [&](const char* name, Shape shape) {
          return accumulate ? t.inout(name, shape, out, {}, bound) : t.out(name, shape, out, bound);
        };
        api::LinearBackwardWeights a;
        a.x = t.in("x", {r.n, r.i}, type);
        a.dy = t.in("dy", {r.n, r.o}, type);
        a.dw = gradient("dw", {r.o, r.i});
        if (bias) a.db = gradient("db", {r.o});
        a.accumulate = accumulate;
        t.backend().linear().backward_weights(a);
      });
    }
  }
}

}  // namespace

void add_linear_cases(CaseList& list) {
  for (const DType type : kRealTypes) {
    for (const Row& r : kRows) {
      add_forward(list, r, type);
      add_backward_data(list, r, type);
      add_backward_weights(list, r, type);
    }
  }
}

}  // namespace isaribi::selftest
