// SPDX-License-Identifier: MIT
// Activation cases: smooth values, corners, extremes, NaN, in place.
#include <fmt/format.h>

#include <cmath>
#include <limits>

#include "backends/selftest/case.hpp"

namespace isaribi::selftest {
namespace {

using api::Activation;
using core::DType;
using core::Shape;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr Activation kKinds[] = {Activation::none, Activation::relu,    Activation::relu6,
                                 Activation::tanh, Activation::sigmoid, Activation::swish};
const Shape kShapes[] = {{0}, {1}, {7}, {17}, {5, 13, 3}, {64, 129}, {3, 31, 33, 17}, {200003}};

struct Content {
  const char* what;
  Values values;
};

std::vector<Content> contents() {
  return {{"uniform", Values::uniform(-8.0, 8.0)},
          {"near 0", Values::uniform(-1e-3, 1e-3)},
          {"corners and extremes",
           Values::list({0.0, -0.0, 6.0, -1.0, 1e-30, 80.0, -80.0, 100.0, -100.0, 1000.0, -1000.0,
                         20.0, -20.0, 5.999, 6.001, 1e4, -1e4})},
          {"some NaN", Values([](std::int64_t, double d) { return d < 0.2 ? kNaN : d; })}};
}

void add_forward(CaseList& list, DType type, Activation kind, const Shape& s,
                 const Content& content, bool in_place) {
  const auto text = fmt::format("{} of {}, {}{}", api::name_of(kind), s.text(), content.what,
                                in_place ? ", in place" : "");
  list.add(api::Op::activation_forward, type, text, [=](Trial& t) {
    // exp(x) of a rounded argument is wrong by |x| eps; in the tails that is all there is.
    const bool in_tail = kind == Activation::sigmoid || kind == Activation::swish;
    const Bound bound = Bound::relative(type, in_tail ? 64 : 4);
    api::ActivationForward a;
    a.kind = kind;
    a.x = in_place ? t.inout("x", s, type, content.values, bound)
                   : t.in("x", s, type, content.values);
    a.y = in_place ? a.x : t.out("y", s, type, bound);
    t.backend().elementwise().activation_forward(a);
  });
}

/// Outputs that the kind can have, corners included.
Values outputs_of(Activation kind) {
  switch (kind) {
    case Activation::relu:
      return Values([](std::int64_t, double d) { return d < 0.4 ? 0.0 : 9.0 * (d - 0.4); });
    case Activation::relu6:
      return Values([](std::int64_t, double d) {
        return d < 0.3 ? 0.0 : (d > 0.7 ? 6.0 : 15.0 * (d - 0.3));
      });
    case Activation::sigmoid:
      return Values::uniform(0.0, 1.0);
    default:
      return Values::uniform(-1.0, 1.0);
  }
}

void add_backward(CaseList& list, DType type, Activation kind, const Shape& s, bool in_place) {
  const auto text =
      fmt::format("{} of {}{}", api::name_of(kind), s.text(), in_place ? ", in place" : "");
  list.add(api::Op::activation_backward, type, text, [=](Trial& t) {
    api::ActivationBackward a;
    a.kind = kind;
    std::vector<double> scale(static_cast<std::size_t>(s.count()), 1.0);  // |dy| <= 1
    if (kind == Activation::swish) {
      a.x = t.in("x", s, type, Values::uniform(-8.0, 8.0));
      const std::vector<double> x = t.initial(a.x);
      for (std::size_t i = 0; i < scale.size(); ++i) scale[i] = 1.0 + std::fabs(x[i]);
    } else if (kind != Activation::none) {
      a.y = t.in("y", s, type, outputs_of(kind));
    }
    const Bound bound = Bound::given(type, 0, scale);
    a.dy = in_place ? t.inout("dy", s, type, {}, bound) : t.in("dy", s, type);
    a.dx = in_place ? a.dy : t.out("dx", s, type, bound);
    t.backend().elementwise().activation_backward(a);
  });
}

}  // namespace

void add_activation_cases(CaseList& list) {
  for (const DType type : kRealTypes) {
    for (const Activation kind : kKinds) {
      for (const Shape& s : kShapes) {
        for (const Content& content : contents()) add_forward(list, type, kind, s, content, false);
        if (kind != Activation::none && kind != Activation::swish)
          add_forward(list, type, kind, s, contents()[0], true);
        add_backward(list, type, kind, s, false);
        add_backward(list, type, kind, s, true);
      }
    }
  }
}

}  // namespace isaribi::selftest
