// SPDX-License-Identifier: MIT
// Loss cases. Their scales are written out: e^(z - max) of a rounded argument is wrong by
// |z - max| eps, and a loss is as wrong as its largest term.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "backends/selftest/case.hpp"

namespace isaribi::selftest {
namespace {

using core::DType;
using core::Shape;

const Shape kShapes[] = {{1, 1}, {0, 10}, {5, 10}, {7, 3}, {3, 1000}, {130, 10}, {2, 784}};

struct Content {
  const char* what;
  Values logits, targets;
};

std::vector<Content> contents() {
  const Values soft = Values::uniform(0.0, 1.0);  // does not add up to 1: that is allowed
  const Values hard([](std::int64_t i, double) { return i % 3 == 1 ? 1.0 : 0.0; });
  const auto wild = [](std::int64_t, double d) { return d < 0.5 ? -1e4 * d : 1e4 * d; };
  return {{"uniform, soft targets", Values::uniform(-4.0, 4.0), soft},
          {"uniform, hard targets", Values::uniform(-4.0, 4.0), hard},
          {"all equal", Values::constant(2.5), soft},
          {"extreme", Values(wild), hard}};
}

/// Scales of the loss (per sample) and of its gradient (per element).
struct Scales {
  std::vector<double> loss, gradient;
};
using ScaleRule = void (*)(const double* z, const double* t, std::int64_t c, double& loss,
                           double* gradient);

Scales scales(Trial& t, const api::Loss& a, ScaleRule rule) {
  const std::vector<double> z = t.initial(a.z), targets = t.initial(a.targets);
  const std::int64_t n = a.z.shape()[0], c = a.z.shape()[1];
  Scales s{std::vector<double>(static_cast<std::size_t>(n), 0.0),
           std::vector<double>(z.size(), 0.0)};
  for (std::int64_t i = 0; i < n; ++i) {
    rule(z.data() + i * c, targets.data() + i * c, c, s.loss[static_cast<std::size_t>(i)],
         s.gradient.data() + i * c);
  }
  for (double& g : s.gradient) g *= std::fabs(a.scale);
  return s;
}

void softmax_scale(const double* z, const double* t, std::int64_t c, double& loss,
                   double* gradient) {
  const double highest = *std::max_element(z, z + c);
  double sum = 0.0, mass = 0.0;
  for (std::int64_t k = 0; k < c; ++k) {
    sum += std::exp(z[k] - highest);
    mass += std::fabs(t[k]);
  }
  for (std::int64_t k = 0; k < c; ++k) {
    const double distance = highest - z[k];
    loss += std::fabs(t[k]) * (distance + std::log(sum) + 1.0);
    gradient[k] = std::exp(-distance) / sum * mass * (2.0 + distance) + std::fabs(t[k]);
  }
}

void squares_scale(const double* z, const double* t, std::int64_t c, double& loss,
                   double* gradient) {
  for (std::int64_t k = 0; k < c; ++k) {
    gradient[k] = std::fabs(z[k]) + std::fabs(t[k]);
    loss += 0.5 * gradient[k] * gradient[k];
  }
}

void bernoulli_scale(const double* z, const double* t, std::int64_t c, double& loss,
                     double* gradient) {
  for (std::int64_t k = 0; k < c; ++k) {
    loss += std::fabs(z[k]) * (1.0 + std::fabs(t[k])) + 1.0;
    gradient[k] = 1.0 + std::fabs(t[k]);
  }
}

struct Kind {
  api::Op op;
  void (api::LossOps::*call)(const api::Loss&);
  ScaleRule rule;
};
const Kind kKinds[] = {
    {api::Op::softmax_cross_entropy, &api::LossOps::softmax_cross_entropy, softmax_scale},
    {api::Op::mean_squared_error, &api::LossOps::mean_squared_error, squares_scale},
    {api::Op::bernoulli_cross_entropy, &api::LossOps::bernoulli_cross_entropy, bernoulli_scale}};

void add_loss(CaseList& list, DType type, const Kind& kind, const Shape& s, const Content& content,
              bool gradient) {
  const auto text = fmt::format("{}, {}{}", s.text(), content.what, gradient ? "" : ", loss only");
  list.add(kind.op, type, text, [=](Trial& t) {
    api::Loss a;
    a.z = t.in("z", s, type, content.logits);
    a.targets = t.in("targets", s, type, content.targets);
    a.scale = 1.0 / 96.0;
    const Scales scale = scales(t, a, kind.rule);
    a.loss = t.out("loss", {s[0]}, DType::f64, Bound::given(type, s[1], scale.loss));
    if (gradient) a.dz = t.out("dz", s, type, Bound::given(type, s[1], scale.gradient));
    (t.backend().loss().*kind.call)(a);
  });
}

void add_one_hot(CaseList& list, DType type, std::int64_t n, std::int64_t c, double smoothing) {
  const auto text = fmt::format("[{}, {}], smoothing {}", n, c, smoothing);
  list.add(api::Op::one_hot, type, text, [=](Trial& t) {
    api::OneHot a;
    // Labels from -1 to C: both ends are invalid and must give rows of NaN.
    a.labels =
        t.in("labels", {n}, DType::i32,
             Values([c](std::int64_t i, double) { return static_cast<double>(i % (c + 2) - 1); }));
    a.targets = t.out("targets", {n, c}, type, Bound::relative(type));
    a.smoothing = smoothing;
    t.backend().loss().one_hot(a);
  });
}

}  // namespace

void add_loss_cases(CaseList& list) {
  for (const DType type : kRealTypes) {
    for (const Kind& kind : kKinds) {
      for (const Shape& s : kShapes) {
        for (const Content& content : contents()) add_loss(list, type, kind, s, content, true);
        add_loss(list, type, kind, s, contents()[0], false);
      }
    }
    for (const double smoothing : {0.0, 0.1, 1.0}) {
      add_one_hot(list, type, 0, 10, smoothing);
      add_one_hot(list, type, 3, 1, smoothing);
      add_one_hot(list, type, 70, 10, smoothing);
    }
  }
}

}  // namespace isaribi::selftest
