// SPDX-License-Identifier: MIT
// Finite differences: every backward operation against central differences of its own forward
// operation, in f64 on the backend under test. The objective is sum_i c_i y_i with c = dy, so its
// gradient is what the backward operation returns for dy.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "backends/selftest/case.hpp"

namespace isaribi::selftest {
namespace {

using core::DType;
using core::Shape;
using core::Tensor;

constexpr DType kType = DType::f64;
constexpr double kStep = 1e-5;       // truncation about h^2 = 1e-10, rounding about eps / h = 1e-11
constexpr double kTolerance = 1e-7;  // of 1 + max |gradient|
constexpr std::int64_t kMaxProbes = 60;  // elements tried per operand

/// An input of the forward pass and its gradient as the backward pass computed it.
struct Leaf {
  const char* name;
  Tensor x, gradient;
};

/// Moves single elements of each leaf and compares the slope of sum c y with the gradient.
void check(Trial& t, const std::vector<double>& c, const Tensor& y,
           const std::function<void()>& forward, const std::vector<Leaf>& leaves) {
  const auto objective = [&] {
    forward();
    const std::vector<double> out = t.read(y);
    double sum = 0.0;
    for (std::size_t i = 0; i < out.size(); ++i) sum += c[i] * out[i];
    return sum;
  };
  for (const Leaf& leaf : leaves) {
    const std::vector<double> start = t.initial(leaf.x), gradient = t.read(leaf.gradient);
    const std::int64_t count = leaf.x.count();
    double worst = 0.0, largest = 0.0;
    for (std::int64_t k = 0; k < std::min(count, kMaxProbes); ++k) {
      const auto i = static_cast<std::size_t>(count <= kMaxProbes ? k : k * count / kMaxProbes);
      std::vector<double> moved = start;
      moved[i] = start[i] + kStep;
      t.write(leaf.x, moved);
      const double above = objective();
      moved[i] = start[i] - kStep;
      t.write(leaf.x, moved);
      const double slope = (above - objective()) / (2.0 * kStep);
      const double error = std::fabs(slope - gradient[i]);
      worst = std::isnan(error) ? error : std::max(worst, error);
      largest = std::max(largest, std::fabs(gradient[i]));
    }
    t.write(leaf.x, start);
    t.measure(fmt::format("d{} against finite differences", leaf.name), worst,
              kTolerance * (1.0 + largest));
  }
}

Tensor scratch(Trial& t, const char* name, const Shape& s, DType type = kType) {
  return t.out(name, s, type, {});
}

struct ConvRow {
  Shape x, w;
  api::ConvGeometry g;
};

/// relu(conv(x, w) + b), fused, and back.
void conv_body(Trial& t, const ConvRow& r) {
  const Shape ys{r.x[0], r.g.out_h(r.x[1], r.w[1]), r.g.out_w(r.x[2], r.w[2]), r.w[0]};
  const Tensor x = t.in("x", r.x, kType), w = t.in("w", r.w, kType), b = t.in("b", {r.w[0]}, kType);
  const Tensor dy = t.in("dy", ys, kType), y = scratch(t, "y", ys), dz = scratch(t, "dz", ys);
  const Tensor dx = scratch(t, "dx", r.x), dw = scratch(t, "dw", r.w),
               db = scratch(t, "db", b.shape());
  api::Backend& backend = t.backend();
  const auto forward = [&] { backend.conv().forward({x, w, b, y, r.g, api::Activation::relu}); };
  forward();
  backend.elementwise().activation_backward({api::Activation::relu, {}, y, dy, dz});
  backend.conv().backward_data({dz, w, dx, r.g});
  backend.conv().backward_weights({x, dz, dw, db, r.g, false});
  check(t, t.initial(dy), y, forward, {{"x", x, dx}, {"w", w, dw}, {"b", b, db}});
}

void linear_body(Trial& t, std::int64_t n, std::int64_t i, std::int64_t o) {
  const Tensor x = t.in("x", {n, i}, kType), w = t.in("w", {o, i}, kType),
               b = t.in("b", {o}, kType);
  const Tensor dy = t.in("dy", {n, o}, kType), y = scratch(t, "y", {n, o}),
               dz = scratch(t, "dz", {n, o});
  const Tensor dx = scratch(t, "dx", {n, i}), dw = scratch(t, "dw", {o, i}),
               db = scratch(t, "db", {o});
  api::Backend& backend = t.backend();
  const auto forward = [&] { backend.linear().forward({x, w, b, y, api::Activation::relu}); };
  forward();
  backend.elementwise().activation_backward({api::Activation::relu, {}, y, dy, dz});
  backend.linear().backward_data({dz, w, dx});
  backend.linear().backward_weights({x, dz, dw, db, false});
  check(t, t.initial(dy), y, forward, {{"x", x, dx}, {"w", w, dw}, {"b", b, db}});
}

/// Batch norm in training: statistics, both reductions, as the layer runs it on one rank.
void norm_body(Trial& t, const Shape& s, api::Activation activation) {
  const std::int64_t channels = s.back();
  const double elements = static_cast<double>(s.count() / channels);
  const Tensor x = t.in("x", s, kType), dy = t.in("dy", s, kType);
  const Tensor gamma = t.in("gamma", {channels}, kType, Values::uniform(0.5, 1.5));
  const Tensor beta = t.in("beta", {channels}, kType);
  const Tensor mean = scratch(t, "mean", {channels}), inv_std = scratch(t, "inv_std", {channels});
  const Tensor sums = scratch(t, "sums", {2, channels}), y = scratch(t, "y", s);
  const Tensor reduced = scratch(t, "reduced", {2, channels}), dx = scratch(t, "dx", s);
  const auto per_channel = static_cast<std::size_t>(channels);
  api::NormOps& norm = t.backend().norm();
  const auto forward = [&] {
    norm.statistics({x, sums});
    const std::vector<double> total = t.read(sums);
    std::vector<double> m(per_channel), scale(per_channel);
    for (std::size_t c = 0; c < per_channel; ++c) {
      m[c] = total[c] / elements;
      scale[c] = 1.0 / std::sqrt(total[per_channel + c] / elements - m[c] * m[c] + 1e-5);
    }
    t.write(mean, m);
    t.write(inv_std, scale);
    norm.normalize({x, mean, inv_std, gamma, beta, y, activation});
  };
  forward();
  norm.backward_reduce({x, y, dy, mean, inv_std, reduced, activation});
  norm.backward_apply({x, y, dy, mean, inv_std, gamma, reduced, elements, dx, activation});
  check(t, t.initial(dy), y, forward,
        {{"x", x, dx},
         {"beta", beta, reduced.slice(0, {channels})},
         {"gamma", gamma, reduced.slice(channels, {channels})}});
}

api::PoolGeometry overlapping(bool include_pad) {
  return {3, 2, 2, 1, 1, 0, 0, 1, include_pad};
}

void max_pool_body(Trial& t) {
  const Shape xs{2, 6, 5, 2};
  const api::PoolGeometry g = overlapping(false);
  const Shape ys{2, g.out_h(6), g.out_w(5), 2};
  const Tensor x = t.in("x", xs, kType), dy = t.in("dy", ys, kType);
  const Tensor y = scratch(t, "y", ys), dx = scratch(t, "dx", xs);
  const Tensor argmax = scratch(t, "argmax", ys, DType::i32);
  const auto forward = [&] { t.backend().pool().max_forward({x, y, argmax, g}); };
  forward();
  t.backend().pool().max_backward({dy, argmax, dx, g});
  check(t, t.initial(dy), y, forward, {{"x", x, dx}});
}

void average_pool_body(Trial& t, bool include_pad) {
  const Shape xs{2, 6, 5, 2};
  const api::PoolGeometry g = overlapping(include_pad);
  const Shape ys{2, g.out_h(6), g.out_w(5), 2};
  const Tensor x = t.in("x", xs, kType), dy = t.in("dy", ys, kType);
  const Tensor y = scratch(t, "y", ys), dx = scratch(t, "dx", xs);
  t.backend().pool().average_backward({dy, dx, g});
  check(t, t.initial(dy), y,
        [&] {
          t.backend().pool().average_forward({x, y, g});
        },
        {{"x", x, dx}});
}

void global_average_body(Trial& t) {
  const Tensor x = t.in("x", {3, 4, 3, 2}, kType), dy = t.in("dy", {3, 2}, kType);
  const Tensor y = scratch(t, "y", {3, 2}), dx = scratch(t, "dx", {3, 4, 3, 2});
  t.backend().pool().global_average_backward({dy, dx});
  check(t, t.initial(dy), y,
        [&] {
          t.backend().pool().global_average_forward({x, y});
        },
        {{"x", x, dx}});
}

void activation_body(Trial& t, api::Activation kind) {
  const Shape s{5, 11};
  const Tensor x = t.in("x", s, kType, Values::uniform(-8.0, 8.0)), dy = t.in("dy", s, kType);
  const Tensor y = scratch(t, "y", s), dx = scratch(t, "dx", s);
  const auto forward = [&] { t.backend().elementwise().activation_forward({kind, x, y}); };
  forward();
  t.backend().elementwise().activation_backward({kind, x, y, dy, dx});
  check(t, t.initial(dy), y, forward, {{"x", x, dx}});
}

/// y = relu(a + b): one gradient for both branches.
void residual_body(Trial& t) {
  const Shape s{4, 3, 5};
  const Tensor a = t.in("a", s, kType), b = t.in("b", s, kType), dy = t.in("dy", s, kType);
  const Tensor y = scratch(t, "y", s), d = scratch(t, "d", s);
  const auto forward = [&] { t.backend().elementwise().add({a, b, y, api::Activation::relu}); };
  forward();
  t.backend().elementwise().activation_backward({api::Activation::relu, {}, y, dy, d});
  check(t, t.initial(dy), y, forward, {{"a", a, d}, {"b", b, d}});
}

void bias_body(Trial& t) {
  const Tensor x = t.in("x", {4, 2, 3}, kType), bias = t.in("bias", {3}, kType);
  const Tensor dy = t.in("dy", {4, 2, 3}, kType), y = scratch(t, "y", {4, 2, 3});
  const Tensor db = scratch(t, "db", {3});
  t.backend().elementwise().bias_gradient({dy, db, false});
  check(t, t.initial(dy), y,
        [&] {
          t.backend().elementwise().add_bias({x, bias, y});
        },
        {{"bias", bias, db}});
}

/// The gradient of a in a b is dy b.
void multiply_body(Trial& t) {
  const Tensor a = t.in("a", {4, 3}, kType), b = t.in("b", {4, 3}, kType);
  const Tensor dy = t.in("dy", {4, 3}, kType), y = scratch(t, "y", {4, 3});
  const Tensor da = scratch(t, "da", {4, 3});
  t.backend().elementwise().multiply({dy, b, da});
  check(t, t.initial(dy), y,
        [&] {
          t.backend().elementwise().multiply({a, b, y});
        },
        {{"a", a, da}});
}

/// The gradients of the parts of a concatenation are the parts of the gradient.
void concat_body(Trial& t) {
  const Tensor a = t.in("a", {3, 2, 4}, kType), b = t.in("b", {3, 2, 5}, kType);
  const Tensor dy = t.in("dy", {3, 2, 9}, kType), y = scratch(t, "y", {3, 2, 9});
  const Tensor da = scratch(t, "da", a.shape()), db = scratch(t, "db", b.shape());
  t.backend().elementwise().split({dy, {da, db}});
  check(t, t.initial(dy), y,
        [&] {
          t.backend().elementwise().concat({{a, b}, y});
        },
        {{"a", a, da}, {"b", b, db}});
}

void loss_body(Trial& t, void (api::LossOps::*loss)(const api::Loss&)) {
  const Shape s{6, 7};
  const Tensor z = t.in("z", s, kType, Values::uniform(-3.0, 3.0));
  const Tensor targets = t.in("targets", s, kType, Values::uniform(0.0, 1.0));
  const Tensor y = scratch(t, "loss", {6}), dz = scratch(t, "dz", s);
  constexpr double kScale = 0.25;
  (t.backend().loss().*loss)({z, targets, y, dz, kScale});
  check(t, std::vector<double>(6, kScale), y,
        [&] {
          (t.backend().loss().*loss)({z, targets, y, {}, kScale});
        },
        {{"z", z, dz}});
}

void dropout_body(Trial& t) {
  const Shape s{5, 9};
  const Tensor x = t.in("x", s, kType), dy = t.in("dy", s, kType);
  const Tensor ids = t.in("ids", {5}, DType::i32, Values::list({3, 1, 4, 1, 5}));
  const Tensor y = scratch(t, "y", s), dx = scratch(t, "dx", s);
  const core::Philox key(7, core::Purpose::dropout, 11);
  t.backend().random().dropout({dy, ids, dx, 0.4, key});
  check(t, t.initial(dy), y,
        [&] {
          t.backend().random().dropout({x, ids, y, 0.4, key});
        },
        {{"x", x, dx}});
}

void add(CaseList& list, api::Op op, const std::string& text, std::function<void(Trial&)> body) {
  list.add_self_judging(op, kType, "gradient of " + text, std::move(body));
}

}  // namespace

void add_gradient_cases(CaseList& list) {
  using api::Op;
  const ConvRow rows[] = {{{2, 6, 5, 3}, {4, 3, 3, 3}, {2, 1, 1, 0, 0, 2}},
                          {{2, 7, 7, 4}, {6, 3, 2, 2}, {1, 2, 2, 1, 2, 1, 2, 2, 2}},
                          {{2, 5, 5, 4}, {4, 3, 3, 1}, {1, 1, 1, 1, 1, 1, 1, 1, 4}},
                          {{34, 2, 2, 5}, {3, 1, 1, 5}, {}}};
  for (const ConvRow& r : rows) {
    const auto text = "x " + r.x.text() + " w " + r.w.text();
    for (const Op op : {Op::conv_backward_data, Op::conv_backward_weights})
      add(list, op, text, [r](Trial& t) { conv_body(t, r); });
  }
  for (const Op op : {Op::linear_backward_data, Op::linear_backward_weights})
    add(list, op, "x [34, 5] w [4, 5]", [](Trial& t) { linear_body(t, 34, 5, 4); });
  for (const api::Activation kind : {api::Activation::none, api::Activation::relu}) {
    for (const Op op : {Op::batch_norm_backward_reduce, Op::batch_norm_backward_apply}) {
      const auto text = fmt::format("x [3, 4, 2, 5], {}", api::name_of(kind));
      add(list, op, text, [kind](Trial& t) { norm_body(t, {3, 4, 2, 5}, kind); });
    }
  }
  add(list, Op::max_pool_backward, "overlapping windows", max_pool_body);
  for (const bool include_pad : {false, true}) {
    add(list, Op::average_pool_backward, include_pad ? "padding counted" : "padding left out",
        [=](Trial& t) { average_pool_body(t, include_pad); });
  }
  add(list, Op::global_average_backward, "x [3, 4, 3, 2]", global_average_body);
  for (const api::Activation kind :
       {api::Activation::relu, api::Activation::relu6, api::Activation::tanh,
        api::Activation::sigmoid, api::Activation::swish}) {
    add(list, Op::activation_backward, std::string(api::name_of(kind)),
        [kind](Trial& t) { activation_body(t, kind); });
  }
  add(list, Op::add, "relu(a + b)", residual_body);
  add(list, Op::bias_gradient, "x + bias", bias_body);
  add(list, Op::multiply, "a b", multiply_body);
  add(list, Op::concat, "two parts", concat_body);
  add(list, Op::split, "two parts", concat_body);
  add(list, Op::softmax_cross_entropy, "soft targets",
      [](Trial& t) { loss_body(t, &api::LossOps::softmax_cross_entropy); });
  add(list, Op::mean_squared_error, "soft targets",
      [](Trial& t) { loss_body(t, &api::LossOps::mean_squared_error); });
  add(list, Op::bernoulli_cross_entropy, "soft targets",
      [](Trial& t) { loss_body(t, &api::LossOps::bernoulli_cross_entropy); });
  add(list, Op::dropout, "fixed key", dropout_body);
}

}  // namespace isaribi::selftest
