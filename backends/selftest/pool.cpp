// SPDX-License-Identifier: MIT
// Pooling cases. A maximum is exact, and so is its place; averages are sums of products.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "backends/selftest/case.hpp"

namespace isaribi::selftest {
namespace {

using core::DType;
using core::Shape;

struct Row {
  const char* what;
  std::int64_t n, h, w, c;
  api::PoolGeometry g;

  Shape x() const { return {n, h, w, c}; }
  Shape y() const { return {n, g.out_h(h), g.out_w(w), c}; }
  std::string text() const { return fmt::format("{}: x {}", what, x().text()); }
};

// Order of PoolGeometry: kernel h w, stride h w, pad top left bottom right, count_include_pad.
const Row kRows[] = {
    {"one pixel", 1, 1, 1, 1, {1, 1, 1, 1}},
    {"empty batch", 0, 4, 4, 3, {2, 2, 2, 2}},
    {"2x2, stride 2", 2, 6, 8, 16, {2, 2, 2, 2}},
    {"2x2, odd image", 3, 7, 5, 6, {2, 2, 2, 2}},
    {"2x2, 17 channels", 2, 4, 4, 17, {2, 2, 2, 2}},
    {"2x2, 70 samples", 70, 4, 4, 3, {2, 2, 2, 2}},
    {"3x3, stride 2, padding 1", 2, 9, 8, 6, {3, 3, 2, 2, 1, 1, 1, 1}},
    {"3x3, stride 1, padding 1", 2, 6, 6, 16, {3, 3, 1, 1, 1, 1, 1, 1}},
    {"3x3, asymmetric padding", 2, 6, 7, 3, {3, 3, 2, 2, 0, 1, 2, 0}},
    {"3x2, stride 1x3", 2, 6, 7, 32, {3, 2, 1, 3}},
    {"1x1, stride 2", 2, 5, 5, 3, {1, 1, 2, 2}},
    {"whole image", 2, 5, 4, 64, {5, 4, 5, 4}},
    {"window larger than the image", 2, 2, 2, 3, {3, 3, 1, 1, 1, 1, 1, 1}},
    {"2x2, large", 20, 28, 28, 32, {2, 2, 2, 2}},
    {"3x3, large image", 4, 28, 28, 33, {3, 3, 2, 2, 1, 1, 1, 1}},
};

/// What the maximum is taken of.
struct Content {
  const char* what;
  Values values;
};

std::vector<Content> contents() {
  constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
  constexpr double kInf = std::numeric_limits<double>::infinity();
  return {{"uniform", {}},
          {"negative", Values::uniform(-5.0, -1.0)},  // padding must not win
          {"many ties", Values([](std::int64_t, double d) { return std::floor(3.0 * d); })},
          {"all -inf", Values::constant(-kInf)},
          {"some NaN", Values([](std::int64_t, double d) { return d < 0.1 ? kNaN : d; })}};
}

void add_max(CaseList& list, DType type, const Row& r) {
  for (const Content& content : contents()) {
    const auto text = fmt::format("{}, {}", r.text(), content.what);
    list.add(api::Op::max_pool_forward, type, text, [=](Trial& t) {
      api::MaxPoolForward a;
      a.x = t.in("x", r.x(), type, content.values);
      a.y = t.out("y", r.y(), type, Bound::exact());
      a.argmax = t.out("argmax", r.y(), DType::i32, Bound::exact());
      a.geometry = r.g;
      t.backend().pool().max_forward(a);
    });
  }
  list.add(api::Op::max_pool_backward, type, r.text(), [=](Trial& t) {
    // Any pixel of the clipped window may have been the maximum.
    const Values place([r](std::int64_t i, double draw) {
      const Shape y = r.y();
      const std::int64_t q = i / y[3] % y[2], p = i / y[3] / y[2] % y[1];
      const std::int64_t top = p * r.g.stride_h - r.g.pad_top;
      const std::int64_t left = q * r.g.stride_w - r.g.pad_left;
      const std::int64_t h0 = std::max<std::int64_t>(top, 0), w0 = std::max<std::int64_t>(left, 0);
      const std::int64_t rows = std::min(top + r.g.kernel_h, r.h) - h0;
      const std::int64_t columns = std::min(left + r.g.kernel_w, r.w) - w0;
      const auto tap = static_cast<std::int64_t>(draw * static_cast<double>(rows * columns));
      return static_cast<double>((h0 + tap / columns) * r.w + w0 + tap % columns);
    });
    api::MaxPoolBackward a;
    a.dy = t.in("dy", r.y(), type);
    a.argmax = t.in("argmax", r.y(), DType::i32, place);
    a.dx = t.out("dx", r.x(), type, Bound::absolute(type, r.g.kernel_h * r.g.kernel_w));
    a.geometry = r.g;
    t.backend().pool().max_backward(a);
  });
}

void add_average(CaseList& list, DType type, const Row& r, bool include_pad) {
  api::PoolGeometry g = r.g;
  g.count_include_pad = include_pad;
  const Bound bound = Bound::absolute(type, g.kernel_h * g.kernel_w);
  const auto text = r.text() + (include_pad ? ", padding counted" : "");
  list.add(api::Op::average_pool_forward, type, text, [=](Trial& t) {
    api::AveragePoolForward a;
    a.x = t.in("x", r.x(), type);
    a.y = t.out("y", r.y(), type, bound);
    a.geometry = g;
    t.backend().pool().average_forward(a);
  });
  list.add(api::Op::average_pool_backward, type, text, [=](Trial& t) {
    api::AveragePoolBackward a;
    a.dy = t.in("dy", r.y(), type);
    a.dx = t.out("dx", r.x(), type, bound);
    a.geometry = g;
    t.backend().pool().average_backward(a);
  });
}

void add_global(CaseList& list, DType type, const Shape& x) {
  const Shape y{x[0], x[3]};
  list.add(api::Op::global_average_forward, type, "x " + x.text(), [=](Trial& t) {
    api::GlobalAverageForward a;
    a.x = t.in("x", x, type);
    a.y = t.out("y", y, type, Bound::absolute(type, x[1] * x[2]));
    t.backend().pool().global_average_forward(a);
  });
  list.add(api::Op::global_average_backward, type, "dx " + x.text(), [=](Trial& t) {
    api::GlobalAverageBackward a;
    a.dy = t.in("dy", y, type);
    a.dx = t.out("dx", x, type, Bound::relative(type));
    t.backend().pool().global_average_backward(a);
  });
}

}  // namespace

void add_pool_cases(CaseList& list) {
  for (const DType type : kRealTypes) {
    for (const Row& r : kRows) {
      add_max(list, type, r);
      add_average(list, type, r, false);
      add_average(list, type, r, true);
    }
    for (const Shape& x : {Shape{1, 1, 1, 1}, Shape{0, 3, 3, 4}, Shape{2, 7, 7, 64},
                           Shape{3, 5, 4, 17}, Shape{70, 3, 3, 6}, Shape{2, 33, 31, 3}})
      add_global(list, type, x);
  }
}

}  // namespace isaribi::selftest
