// SPDX-License-Identifier: MIT
// Batch normalisation cases. mean, and the sums in the backward pass, are subtracted: the run with
// absolute values takes them negative, so that |x| + |mean| is the scale.
#include <fmt/format.h>

#include <algorithm>

#include "backends/selftest/case.hpp"

namespace isaribi::selftest {
namespace {

using core::DType;
using core::Shape;

const Shape kShapes[] = {{1, 1},          {0, 3},          {5, 3},        {0, 4, 4, 6},
                         {2, 3, 3, 1},    {2, 5, 5, 6},    {3, 4, 5, 16}, {2, 7, 7, 17},
                         {40, 3, 3, 32},  {33, 13, 13, 8}, {2, 3, 3, 64}, {300, 100},
                         {20, 28, 28, 32}};

std::int64_t rows_of(const Shape& s) {
  return s.count() / std::max<std::int64_t>(s.back(), 1);
}

/// The forward output of a fused relu: about half of it is 0.
Values rectified() {
  return Values([](std::int64_t, double draw) { return draw < 0.5 ? 0.0 : draw; });
}

std::string text_of(const Shape& s, api::Activation activation) {
  return fmt::format("x {}, {}", s.text(), api::name_of(activation));
}

void add_statistics(CaseList& list, DType type, const Shape& s) {
  for (const double offset : {0.0, 100.0}) {
    const auto text = fmt::format("x {} around {}", s.text(), offset);
    list.add(api::Op::batch_norm_statistics, type, text, [=](Trial& t) {
      api::BatchNormStatistics a;
      a.x = t.in("x", s, type, Values::uniform(offset - 1.0, offset + 1.0));
      // The sums are f64 whatever the type of x.
      a.sums = t.out("sums", {2, s.back()}, DType::f64, Bound::absolute(DType::f64, rows_of(s)));
      t.backend().norm().statistics(a);
    });
  }
}

void add_normalize(CaseList& list, DType type, const Shape& s, api::Activation activation) {
  list.add(api::Op::batch_norm_normalize, type, text_of(s, activation), [=](Trial& t) {
    const Shape c{s.back()};
    api::BatchNormNormalize a;
    a.x = t.in("x", s, type, Values::uniform(-3.0, 5.0));
    a.mean = t.in("mean", c, type, Values::uniform(0.0, 2.0).minus());
    a.inv_std = t.in("inv_std", c, type, Values::uniform(0.2, 3.0));
    a.gamma = t.in("gamma", c, type, Values::uniform(-1.5, 1.5));
    a.beta = t.in("beta", c, type);
    a.y = t.out("y", s, type, Bound::absolute(type, 0));
    a.activation = activation;
    t.backend().norm().normalize(a);
  });
}

void add_backward_reduce(CaseList& list, DType type, const Shape& s, api::Activation activation) {
  list.add(api::Op::batch_norm_backward_reduce, type, text_of(s, activation), [=](Trial& t) {
    const Shape c{s.back()};
    api::BatchNormBackwardReduce a;
    a.x = t.in("x", s, type, Values::uniform(-3.0, 5.0));
    if (activation != api::Activation::none) a.y = t.in("y", s, type, rectified());
    a.dy = t.in("dy", s, type);
    a.mean = t.in("mean", c, type, Values::uniform(0.0, 2.0).minus());
    a.inv_std = t.in("inv_std", c, type, Values::uniform(0.2, 3.0));
    // x^ may be rounded to `type`, its sum may not: no growth with the number of rows in f32.
    const std::int64_t terms = type == DType::f64 ? rows_of(s) : 0;
    a.sums = t.out("sums", {2, s.back()}, DType::f64, Bound::absolute(type, terms));
    a.activation = activation;
    t.backend().norm().backward_reduce(a);
  });
}

void add_backward_apply(CaseList& list, DType type, const Shape& s, api::Activation activation,
                        bool in_place) {
  const auto text = text_of(s, activation) + (in_place ? ", in place" : "");
  list.add(api::Op::batch_norm_backward_apply, type, text, [=](Trial& t) {
    const Shape c{s.back()};
    const Bound bound = Bound::absolute(type, 0);
    api::BatchNormBackwardApply a;
    a.x = t.in("x", s, type, Values::uniform(-3.0, 5.0));
    if (activation != api::Activation::none) a.y = t.in("y", s, type, rectified());
    a.dy = in_place ? t.inout("dy", s, type, {}, bound) : t.in("dy", s, type);
    a.mean = t.in("mean", c, type, Values::uniform(0.0, 2.0).minus());
    a.inv_std = t.in("inv_std", c, type, Values::uniform(0.2, 3.0));
    a.gamma = t.in("gamma", c, type, Values::uniform(-1.5, 1.5));
    a.elements = 2.0 * static_cast<double>(rows_of(s)) + 1.0;  // as if another rank had the rest
    a.sums =
        t.in("sums", {2, s.back()}, DType::f64, Values::uniform(-a.elements, a.elements).minus());
    a.dx = in_place ? a.dy : t.out("dx", s, type, bound);
    a.activation = activation;
    t.backend().norm().backward_apply(a);
  });
}

void add_fold(CaseList& list, DType type, const Shape& w) {
  list.add(api::Op::batch_norm_fold, type, "w " + w.text(), [=](Trial& t) {
    const Shape o{w[0]};
    api::BatchNormFold a;
    a.w = t.inout("w", w, type, {}, Bound::relative(type));
    a.bias = t.inout("bias", o, type, {}, Bound::absolute(type, 0));
    a.mean = t.in("mean", o, type, Values().minus());
    a.inv_std = t.in("inv_std", o, type, Values::uniform(0.2, 3.0));
    a.gamma = t.in("gamma", o, type, Values::uniform(-1.5, 1.5));
    a.beta = t.in("beta", o, type);
    t.backend().norm().fold(a);
  });
}

}  // namespace

void add_norm_cases(CaseList& list) {
  for (const DType type : kRealTypes) {
    for (const Shape& s : kShapes) {
      add_statistics(list, type, s);
      for (const api::Activation activation : {api::Activation::none, api::Activation::relu}) {
        add_normalize(list, type, s, activation);
        add_backward_reduce(list, type, s, activation);
        add_backward_apply(list, type, s, activation, false);
        add_backward_apply(list, type, s, activation, true);
      }
    }
    for (const Shape& w : {Shape{1, 1}, Shape{5, 7}, Shape{16, 3, 3, 6}, Shape{33, 1, 1, 17}})
      add_fold(list, type, w);
  }
}

}  // namespace isaribi::selftest
