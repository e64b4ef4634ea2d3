// SPDX-License-Identifier: MIT
// Cases of the statistics of K-FAC: against the oracle over shapes and geometries, and against
// identities that share no code with it. A product with the second moment of patches is a sum of
// products of convolution outputs; the unit-wise Fisher is the batch norm gradient of one sample at
// a time.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "backends/selftest/case.hpp"

namespace isaribi::selftest {
namespace {

using core::DType;
using core::Shape;
using core::Tensor;

/// One row of the table.
struct Row {
  const char* what;
  std::int64_t n, h, w, i, kh, kw;
  api::ConvGeometry g;

  Shape x() const { return {n, h, w, i}; }
  std::int64_t length(bool bias) const { return kh * kw * (i / g.groups) + (bias ? 1 : 0); }
  std::int64_t positions() const { return g.out_h(h, kh) * g.out_w(w, kw); }
  std::string text() const {
    return fmt::format("{}: x {} kernel {}x{}", what, x().text(), kh, kw);
  }
};

// Order of ConvGeometry: stride h w, pad top left bottom right, dilation h w, groups.
const Row kRows[] = {
    {"all ones", 1, 1, 1, 1, 1, 1, {}},
    {"empty batch", 0, 5, 5, 3, 3, 3, {1, 1, 1, 1, 1, 1}},
    {"linear layer", 5, 1, 1, 7, 1, 1, {}},
    {"linear layer, sample blocks", 70, 1, 1, 33, 1, 1, {}},
    {"linear layer, wide", 37, 1, 1, 150, 1, 1, {}},
    {"linear layer, whole vectors", 40, 1, 1, 144, 1, 1, {}},
    {"linear layer, parts of the batch", 1030, 1, 1, 96, 1, 1, {}},
    {"linear layer, groups of rows", 520, 1, 1, 290, 1, 1, {}},
    {"linear layer, empty batch", 0, 1, 1, 9, 1, 1, {}},
    {"output gradient", 3, 5, 4, 10, 1, 1, {}},
    {"output gradient, 16", 35, 4, 4, 16, 1, 1, {}},
    {"output gradient, 1", 33, 6, 6, 1, 1, 1, {}},
    {"output gradient, 2", 3, 7, 5, 2, 1, 1, {}},
    {"output gradient, 3", 40, 3, 7, 3, 1, 1, {}},
    {"output gradient, 4", 33, 5, 5, 4, 1, 1, {}},
    {"output gradient, 6", 70, 9, 7, 6, 1, 1, {}},
    {"output gradient, 6, few pixels", 1, 2, 3, 6, 1, 1, {}},
    {"output gradient, 8", 5, 6, 6, 8, 1, 1, {}},
    {"output gradient, 32, slices", 70, 8, 8, 32, 1, 1, {}},
    {"output gradient, 65", 9, 5, 7, 65, 1, 1, {}},
    {"output gradient, 96, slices", 33, 11, 12, 96, 1, 1, {}},
    {"output gradient, 200", 2, 3, 5, 200, 1, 1, {}},
    {"output gradient, two groups", 3, 4, 4, 12, 1, 1, {1, 1, 0, 0, 0, 0, 1, 1, 2}},
    {"1x1, stride 2", 3, 9, 9, 17, 1, 1, {2, 2}},
    {"1x1, padding", 2, 4, 4, 5, 1, 1, {1, 1, 1, 1, 1, 1}},
    {"same padding", 2, 5, 5, 3, 3, 3, {1, 1, 1, 1, 1, 1}},
    {"same padding, 16", 3, 8, 8, 16, 3, 3, {1, 1, 1, 1, 1, 1}},
    {"same padding, 17", 2, 6, 7, 17, 3, 3, {1, 1, 1, 1, 1, 1}},
    {"same padding, 32", 2, 7, 7, 32, 3, 3, {1, 1, 1, 1, 1, 1}},
    {"same padding, sample blocks", 70, 6, 6, 4, 3, 3, {1, 1, 1, 1, 1, 1}},
    {"one channel", 2, 28, 28, 1, 5, 5, {1, 1, 2, 2, 2, 2}},
    {"one channel, no padding", 3, 28, 28, 1, 5, 5, {}},
    {"one channel, sample blocks", 150, 9, 20, 1, 5, 5, {1, 1, 2, 2, 2, 2}},
    {"one channel each of two groups, asymmetric", 34, 8, 17, 2, 3, 5, {1, 1, 0, 3, 2, 0, 2, 1, 2}},
    {"no padding, 6", 3, 14, 14, 6, 5, 5, {}},
    {"same padding of 5x5, 6", 2, 9, 11, 6, 5, 5, {1, 1, 2, 2, 2, 2}},
    {"image smaller than the kernel", 3, 2, 3, 4, 5, 5, {1, 1, 2, 2, 2, 2}},
    {"image of one pixel", 5, 1, 1, 3, 3, 3, {1, 1, 1, 1, 1, 1}},
    {"image of one row", 2, 1, 9, 3, 3, 3, {1, 1, 1, 1, 1, 1}},
    {"kernel as large as the image", 2, 5, 5, 6, 5, 5, {}},
    {"padding beyond the kernel", 1, 3, 3, 2, 2, 2, {1, 1, 3, 3, 3, 3}},
    {"padding far beyond the image", 2, 2, 2, 3, 3, 3, {1, 1, 5, 4, 6, 7}},
    {"some windows see padding only", 2, 4, 5, 2, 3, 2, {1, 1, 7, 0, 0, 5}},
    {"asymmetric padding", 2, 6, 5, 3, 3, 3, {1, 1, 0, 1, 2, 0}},
    {"asymmetric padding, kernel 4x2", 2, 7, 6, 3, 4, 2, {1, 1, 2, 0, 1, 1}},
    {"kernel 1x5", 2, 4, 9, 3, 1, 5, {1, 1, 0, 2, 0, 2}},
    {"kernel 5x1", 2, 9, 4, 3, 5, 1, {1, 1, 2, 0, 2, 0}},
    {"dilation 2", 2, 9, 9, 4, 3, 3, {1, 1, 2, 2, 2, 2, 2, 2}},
    {"dilations 3 and 2", 2, 10, 12, 17, 3, 2, {1, 1, 1, 0, 2, 3, 3, 2}},
    {"dilation, image smaller than the kernel", 2, 3, 4, 3, 3, 3, {1, 1, 3, 3, 3, 3, 3, 3}},
    {"stride 2", 3, 7, 9, 6, 3, 3, {2, 2, 1, 1, 1, 1}},
    {"stride 2, even image", 35, 8, 8, 16, 3, 3, {2, 2, 1, 1, 1, 1}},
    {"strides 1 and 2", 2, 8, 9, 5, 3, 3, {1, 2, 1, 1, 1, 1}},
    {"strides 3 and 2, kernel 2x3", 2, 10, 11, 3, 2, 3, {3, 2}},
    {"stride larger than kernel", 2, 7, 7, 4, 1, 1, {3, 3}},
    {"dilations 2 and 3, stride 2", 2, 11, 12, 3, 3, 3, {2, 2, 2, 3, 1, 0, 2, 3}},
    {"two groups", 2, 6, 6, 6, 3, 3, {1, 1, 1, 1, 1, 1, 1, 1, 2}},
    {"two groups, stride 2", 2, 6, 6, 34, 3, 3, {2, 2, 1, 1, 1, 1, 1, 1, 2}},
    {"depthwise 16", 2, 8, 8, 16, 3, 3, {1, 1, 1, 1, 1, 1, 1, 1, 16}},
    {"depthwise 5, dilation 2", 2, 7, 7, 5, 3, 3, {1, 1, 2, 2, 2, 2, 2, 2, 5}},
    {"three rows, no padding", 3, 9, 8, 20, 3, 3, {}},
    {"three rows, asymmetric padding", 2, 9, 10, 16, 3, 3, {1, 1, 0, 1, 2, 0}},
    {"three rows, padding beyond the kernel", 2, 9, 7, 16, 3, 3, {1, 1, 4, 3, 4, 3}},
    {"three rows, one column", 3, 11, 5, 16, 3, 1, {1, 1, 1, 0, 1, 0}},
    {"three rows, five columns", 2, 9, 9, 9, 3, 5, {1, 1, 1, 2, 1, 2}},
    {"three rows, two groups", 34, 8, 8, 24, 3, 3, {1, 1, 1, 1, 1, 1, 1, 1, 2}},
    {"gathered rows, few channels", 3, 20, 18, 3, 7, 7, {2, 2, 3, 3, 3, 3}},
    {"gathered rows, few channels, dilation", 2, 21, 19, 4, 6, 6, {3, 2, 2, 0, 1, 4, 2, 3}},
    {"gathered rows, 1x1, stride 2", 5, 7, 6, 256, 1, 1, {2, 2}},
    {"gathered rows, 1x1, padding", 2, 3, 3, 260, 1, 1, {2, 1, 1, 2, 0, 1}},
    {"gathered rows, many columns", 2, 5, 4, 128, 3, 3, {2, 2, 1, 1, 1, 1}},
    {"planes of channels", 2, 4, 5, 128, 2, 2, {1, 1, 1, 1, 1, 1}},
    {"planes of channels, three rows", 2, 9, 4, 96, 3, 3, {1, 1, 1, 1, 1, 1}},
    {"planes of channels, sample blocks", 33, 3, 3, 96, 3, 1, {1, 1, 1, 0, 1, 0}},
    {"planes of channels, stride 2, padding", 2, 5, 6, 128, 3, 2, {2, 2, 1, 1, 1, 1}},
    {"planes of channels, dilation 2", 1, 6, 6, 96, 2, 3, {1, 1, 1, 2, 1, 2, 2, 2}},
    {"planes of channels, two groups", 1, 8, 4, 192, 3, 2, {1, 1, 1, 1, 1, 1, 1, 1, 2}},
    {"large images", 3, 60, 60, 16, 3, 3, {1, 1, 1, 1, 1, 1}},
    {"large", 40, 14, 14, 16, 3, 3, {1, 1, 1, 1, 1, 1}},
};

template <typename Args>
void set_patches(Args& a, const Row& r, bool bias, double scale) {
  a.kh = r.kh;
  a.kw = r.kw;
  a.geometry = r.g;
  a.bias = bias;
  a.scale = scale;
}

/// Elements of a pair across a diagonal of [groups, length, length] that are not the same.
double asymmetry(const std::vector<double>& a, std::int64_t groups, std::int64_t length) {
  double differing = 0.0;
  for (std::int64_t k = 0; k < groups; ++k) {
    for (std::int64_t i = 0; i < length; ++i) {
      for (std::int64_t j = 0; j < i; ++j) {
        const auto lower = static_cast<std::size_t>((k * length + i) * length + j);
        const auto upper = static_cast<std::size_t>((k * length + j) * length + i);
        differing += a[lower] == a[upper] ? 0.0 : 1.0;
      }
    }
  }
  return differing;
}

/// The same factor in every block: as an accumulated argument must be.
Values symmetric_values(std::int64_t length) {
  return Values([length](std::int64_t k, double) {
    const std::int64_t i = k / length % length, j = k % length;
    return std::sin(static_cast<double>(37 * std::max(i, j) + 101 * std::min(i, j)) + 1.0);
  });
}

void add_covariance(CaseList& list, const Row& r, DType type) {
  struct Option {
    bool bias, accumulate, packed;
    DType out;
    double scale;
  };
  for (const Option o : {Option{false, false, false, type, 1.0},
                         {true, false, false, type, 0.125},
                         {true, true, false, DType::f64, 0.3},
                         {true, false, true, DType::f64, 0.125},
                         {false, true, true, type, 0.5}}) {
    const auto text = fmt::format("{}{}{}{}, a {}", r.text(), o.bias ? ", bias" : "",
                                  o.accumulate ? ", accumulate" : "", o.packed ? ", packed" : "",
                                  core::name_of(o.out));
    list.add(api::Op::patch_covariance, type, text, [=](Trial& t) {
      const std::int64_t length = r.length(o.bias);
      const Bound bound = Bound::absolute(type, std::min(r.n, api::kSampleBlock) * r.positions());
      const Shape shape = o.packed ? Shape{r.g.groups, length * (length + 1) / 2}
                                   : Shape{r.g.groups, length, length};
      api::PatchCovariance a;
      set_patches(a, r, o.bias, t.scalar(o.scale));
      a.x = t.in("x", r.x(), type);
      a.a = o.accumulate ? t.inout("a", shape, o.out, symmetric_values(length), bound)
                         : t.out("a", shape, o.out, bound);
      a.accumulate = o.accumulate;
      t.backend().factor().patch_covariance(a);
      if (o.packed) return;
      t.measure("pairs of elements across the diagonal that differ",
                asymmetry(t.read(a.a), r.g.groups, length), 0.5);
    });
  }
}

/// v_o^T A v_o' = sum_{n,t} y_o y_o' for the filters v = (w, b) of a convolution y of the same
/// geometry, and v^T mean = sum_t y.
void add_convolution_identity(CaseList& list, const Row& r) {
  const auto body = [=](Trial& t, bool mean) {
    constexpr DType type = DType::f64;
    const std::int64_t per_group = 2, filters = per_group * r.g.groups, length = r.length(true);
    const std::int64_t positions = r.positions(), taps = length - 1;
    const Tensor x = t.in("x", r.x(), type), b = t.in("b", {filters}, type);
    const Tensor w = t.in("w", {filters, r.kh, r.kw, r.i / r.g.groups}, type);
    const Tensor y =
        t.out("y", {r.n, r.g.out_h(r.h, r.kh), r.g.out_w(r.w, r.kw), filters}, type, {});
    t.backend().conv().forward({x, w, b, y, r.g});
    api::PatchCovariance c;
    set_patches(c, r, true, 1.0);
    c.x = x;
    api::PatchMean m;
    set_patches(m, r, true, 1.0);
    m.x = x;
    if (mean) {
      m.out = t.out("out", {r.n, r.g.groups, length}, type, {});
      t.backend().factor().patch_mean(m);
    } else {
      c.a = t.out("a", {r.g.groups, length, length}, type, {});
      t.backend().factor().patch_covariance(c);
    }
    const std::vector<double> out = t.read(y), weight = t.initial(w), bias = t.initial(b);
    const std::vector<double> stat = t.read(mean ? m.out : c.a);
    const auto filter = [&](std::int64_t o, std::int64_t i) {
      return i < taps ? weight[static_cast<std::size_t>(o * taps + i)]
                      : bias[static_cast<std::size_t>(o)];
    };
    double worst = 0.0, largest = 1.0;
    const auto compare = [&](double got, double want) {
      worst = std::max(worst, std::fabs(got - want));
      largest = std::max(largest, std::fabs(want));
    };
    const auto at = [&](std::int64_t n, std::int64_t p, std::int64_t o) {
      return out[static_cast<std::size_t>((n * positions + p) * filters + o)];
    };
    for (std::int64_t o = 0; o < filters; ++o) {
      const std::int64_t group = o / per_group;
      for (std::int64_t n = 0; mean && n < r.n; ++n) {
        double got = 0.0, want = 0.0;
        for (std::int64_t i = 0; i < length; ++i)
          got +=
              filter(o, i) * stat[static_cast<std::size_t>((n * r.g.groups + group) * length + i)];
        for (std::int64_t p = 0; p < positions; ++p) want += at(n, p, o);
        compare(got, want);
      }
      for (std::int64_t other = group * per_group; !mean && other <= o; ++other) {
        double got = 0.0, want = 0.0;
        for (std::int64_t i = 0; i < length; ++i) {
          for (std::int64_t j = 0; j < length; ++j) {
            got += filter(o, i) * filter(other, j) *
                   stat[static_cast<std::size_t>((group * length + i) * length + j)];
          }
        }
        for (std::int64_t n = 0; n < r.n; ++n) {
          for (std::int64_t p = 0; p < positions; ++p) want += at(n, p, o) * at(n, p, other);
        }
        compare(got, want);
      }
    }
    t.measure("products with filters against convolution outputs", worst, 1e-11 * largest);
  };
  const auto text = r.text() + ", products with filters";
  list.add_self_judging(api::Op::patch_covariance, DType::f64, text,
                        [=](Trial& t) { body(t, false); });
  list.add_self_judging(api::Op::patch_mean, DType::f64, text, [=](Trial& t) { body(t, true); });
}

void add_mean(CaseList& list, const Row& r, DType type, bool bias) {
  list.add(api::Op::patch_mean, type, r.text() + (bias ? ", bias" : ""), [=](Trial& t) {
    api::PatchMean a;
    set_patches(a, r, bias, t.scalar(bias ? 0.3 : 1.0));
    a.x = t.in("x", r.x(), type);
    // In f64 whatever the type.
    a.out = t.out("out", {r.n, r.g.groups, r.length(bias)}, type,
                  Bound::absolute(DType::f64, r.positions()));
    t.backend().factor().patch_mean(a);
  });
}

// Norm Fisher. ------------------------------------------------------------------------------------

const Shape kNormShapes[] = {{1, 1},          {0, 3},        {5, 3},         {2, 3, 3, 1},
                             {2, 5, 5, 6},    {3, 4, 5, 16}, {2, 7, 7, 17},  {40, 3, 3, 32},
                             {33, 13, 13, 8}, {300, 100},    {7, 28, 28, 16}};

/// The forward output of a fused relu: about half of it is 0.
Values rectified() {
  return Values([](std::int64_t, double draw) { return draw < 0.5 ? 0.0 : draw; });
}

api::NormFisher norm_operands(Trial& t, const Shape& s, DType type, api::Activation activation) {
  api::NormFisher a;
  a.x = t.in("x", s, type, Values::uniform(-3.0, 5.0));
  if (activation != api::Activation::none) a.y = t.in("y", s, type, rectified());
  a.dy = t.in("dy", s, type);
  a.mean = t.in("mean", {s.back()}, type, Values::uniform(0.0, 2.0).minus());
  a.inv_std = t.in("inv_std", {s.back()}, type, Values::uniform(0.2, 3.0));
  a.activation = activation;
  return a;
}

void add_norm_fisher(CaseList& list, const Shape& s, DType type, api::Activation activation,
                     bool accumulate) {
  const auto text = fmt::format("x {}, {}{}", s.text(), api::name_of(activation),
                                accumulate ? ", accumulate" : "");
  list.add(api::Op::norm_fisher, type, text, [=](Trial& t) {
    api::NormFisher a = norm_operands(t, s, type, activation);
    // x^ may be rounded to `type`, its sums may not.
    const std::int64_t samples = std::max<std::int64_t>(s[0], 1);
    const std::int64_t terms = s.count() / (samples * s.back()) + samples;
    const Bound bound = Bound::absolute(type, type == DType::f64 ? terms : 0);
    a.sums = accumulate ? t.inout("sums", {3, s.back()}, DType::f64, {}, bound)
                        : t.out("sums", {3, s.back()}, DType::f64, bound);
    a.scale = t.scalar(0.25);
    a.accumulate = accumulate;
    t.backend().factor().norm_fisher(a);
  });
}

/// Against the gradient of (gamma, beta) of every sample alone.
void add_norm_identity(CaseList& list, const Shape& s, api::Activation activation) {
  const auto text = fmt::format("x {}, {}, sample by sample", s.text(), api::name_of(activation));
  list.add_self_judging(api::Op::norm_fisher, DType::f64, text, [=](Trial& t) {
    api::NormFisher a = norm_operands(t, s, DType::f64, activation);
    a.sums = t.out("sums", {3, s.back()}, DType::f64, {});
    t.backend().factor().norm_fisher(a);
    const Tensor one = t.out("one", {2, s.back()}, DType::f64, {});
    const auto channels = static_cast<std::size_t>(s.back());
    std::vector<double> want(3 * channels, 0.0);
    for (std::int64_t n = 0; n < s[0]; ++n) {
      const auto row = [n](const Tensor& x) { return x.defined() ? x.rows(n, n + 1) : x; };
      t.backend().norm().backward_reduce(
          {row(a.x), row(a.y), row(a.dy), a.mean, a.inv_std, one, activation});
      const std::vector<double> sums = t.read(one);
      for (std::size_t c = 0; c < channels; ++c) {
        const double v = sums[c], u = sums[channels + c];
        want[c] += u * u;
        want[channels + c] += u * v;
        want[2 * channels + c] += v * v;
      }
    }
    const std::vector<double> got = t.read(a.sums);
    double worst = 0.0, largest = 0.0;
    for (std::size_t i = 0; i < got.size(); ++i) {
      worst = std::max(worst, std::fabs(got[i] - want[i]));
      largest = std::max(largest, std::fabs(want[i]));
    }
    t.measure("against the gradients of single samples", worst, 1e-12 * largest);
  });
}

}  // namespace

void add_factor_cases(CaseList& list) {
  for (const DType type : kRealTypes) {
    for (const Row& r : kRows) {
      add_covariance(list, r, type);
      add_mean(list, r, type, false);
      add_mean(list, r, type, true);
    }
    for (const Shape& s : kNormShapes) {
      for (const api::Activation activation : {api::Activation::none, api::Activation::relu}) {
        add_norm_fisher(list, s, type, activation, false);
        add_norm_fisher(list, s, type, activation, true);
      }
    }
  }
  for (const Row& r : kRows) add_convolution_identity(list, r);
  for (const api::Activation activation : {api::Activation::none, api::Activation::relu})
    add_norm_identity(list, {5, 4, 3, 6}, activation);
}

}  // namespace isaribi::selftest
