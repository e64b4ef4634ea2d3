// SPDX-License-Identifier: MIT
// Cases of optimizer updates.
#include <fmt/format.h>

#include <cmath>

#include "backends/selftest/case.hpp"

namespace isaribi::selftest {
namespace {

using core::DType;
using core::Shape;

const Shape kShapes[] = {{0}, {1}, {17}, {16, 3, 3, 6}, {300, 100}, {200003}};

void add_sgd_cases(CaseList& list, DType type) {
  struct Row {
    double momentum, l2, decay;
    bool nesterov;
    double scale = 1.0;
  };
  const Row rows[] = {{0.0, 0.0, 0.0, false},     {0.0, 5e-4, 0.0, false}, {0.9, 0.0, 0.0, false},
                      {0.9, 5e-4, 0.0, true},     {0.9, 0.0, 0.1, false},  {0.0, 0.0, 0.1, true},
                      {0.9, 5e-4, 0.0, true, 0.3}};
  for (const Shape& s : kShapes) {
    for (const Row& r : rows) {
      for (const DType gradient : {type, DType::f64}) {
        if (gradient != type && type == DType::f64) continue;
        const auto text = fmt::format("{}, gradient {} x {}, momentum {} l2 {} decay {}{}",
                                      s.text(), core::name_of(gradient), r.scale, r.momentum, r.l2,
                                      r.decay, r.nesterov ? ", Nesterov" : "");
        list.add(api::Op::sgd_update, type, text, [=](Trial& t) {
          const Bound bound = Bound::absolute(type, 0);
          api::SgdUpdate a;
          a.w = t.inout("w", s, type, {}, bound);
          a.gradient = t.in("gradient", s, gradient);
          if (r.momentum != 0.0) a.velocity = t.inout("velocity", s, type, {}, bound);
          a.lr = t.subtracted_scalar(0.1);  // every minus sign of the formula belongs to lr
          a.momentum = r.momentum;
          a.l2 = r.l2;
          a.decay = r.decay;
          a.nesterov = r.nesterov;
          a.scale = r.scale;
          t.backend().update().sgd(a);
        });
      }
    }
  }
}

struct AdamRow {
  double l2, decay;
  std::int64_t step;
};

/// Scales of m, v and w: sums of absolute terms, with the step measured by the true v.
struct AdamScales {
  std::vector<double> m, v, w;
};

AdamScales adam_scales(Trial& t, const api::AdamUpdate& a) {
  const std::vector<double> w = t.initial(a.w), gradient = t.initial(a.gradient),
                            first = t.initial(a.m), second = t.initial(a.v);
  const double bias1 = 1.0 - std::pow(a.beta1, static_cast<double>(a.step));
  const double bias2 = 1.0 - std::pow(a.beta2, static_cast<double>(a.step));
  AdamScales s;
  for (std::size_t i = 0; i < w.size(); ++i) {
    const double g = gradient[i] + a.l2 * w[i];
    const double g_terms = std::fabs(gradient[i]) + a.l2 * std::fabs(w[i]);
    const double v = a.beta2 * second[i] + (1.0 - a.beta2) * g * g;
    s.m.push_back(a.beta1 * std::fabs(first[i]) + (1.0 - a.beta1) * g_terms);
    s.v.push_back(a.beta2 * second[i] + (1.0 - a.beta2) * g_terms * g_terms);
    const double step = s.m[i] / bias1 / (std::sqrt(v / bias2) + a.epsilon);
    s.w.push_back(std::fabs(w[i]) + a.lr * step * (1.0 + s.v[i] / v));
  }
  return s;
}

void add_adam_case(CaseList& list, DType type, const Shape& s, const AdamRow& r, DType gradient) {
  const auto text = fmt::format("{}, gradient {}, step {}, l2 {} decay {}", s.text(),
                                core::name_of(gradient), r.step, r.l2, r.decay);
  list.add(api::Op::adam_update, type, text, [=](Trial& t) {
    api::AdamUpdate a;
    // The scales need all operands, the operands their scales: fill the bounds' vectors afterwards.
    a.w = t.inout("w", s, type, {}, Bound::given(type, 0, {}));
    a.gradient = t.in("gradient", s, gradient);
    a.m = t.inout("m", s, type, {}, Bound::given(type, 0, {}));
    a.v = t.inout("v", s, type, Values::uniform(1e-4, 1.0), Bound::given(type, 0, {}));
    a.lr = 1e-2;
    a.l2 = r.l2;
    a.decay = r.decay;
    a.step = r.step;
    const AdamScales scales = adam_scales(t, a);
    t.rescale(a.w, scales.w);
    t.rescale(a.m, scales.m);
    t.rescale(a.v, scales.v);
    t.backend().update().adam(a);
  });
}

}  // namespace

void add_update_cases(CaseList& list) {
  for (const DType type : kRealTypes) {
    add_sgd_cases(list, type);
    for (const Shape& s : kShapes) {
      for (const AdamRow& r :
           {AdamRow{0.0, 0.0, 1}, {1e-4, 0.0, 10}, {0.0, 0.1, 3}, {0.0, 0.01, 1000000}}) {
        add_adam_case(list, type, s, r, type);
        if (type != DType::f64) add_adam_case(list, type, s, r, DType::f64);
      }
    }
  }
}

}  // namespace isaribi::selftest
