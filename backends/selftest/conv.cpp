// SPDX-License-Identifier: MIT
// Convolution cases: one table of shapes, every one of them through the three passes. Sums of
// products, so the scale of the error is the same convolution of absolute values.
#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "backends/selftest/case.hpp"

namespace isaribi::selftest {
namespace {

using core::DType;
using core::Shape;

/// One row of the table.
struct Row {
  const char* what;
  std::int64_t n, h, w, i, o, kh, kw;
  api::ConvGeometry g;

  Shape x() const { return {n, h, w, i}; }
  Shape weight() const { return {o, kh, kw, i / g.groups}; }
  Shape y() const { return {n, g.out_h(h, kh), g.out_w(w, kw), o}; }
  std::string text() const {
    return fmt::format("{}: x {} w {}", what, x().text(), weight().text());
  }
};

// Order of ConvGeometry: stride h w, pad top left bottom right, dilation h w, groups.
const Row kRows[] = {
    {"all ones", 1, 1, 1, 1, 1, 1, 1, {}},
    {"empty batch", 0, 5, 5, 3, 4, 3, 3, {1, 1, 1, 1, 1, 1}},
    {"same padding", 2, 5, 5, 3, 4, 3, 3, {1, 1, 1, 1, 1, 1}},
    {"no padding", 2, 12, 12, 6, 16, 5, 5, {}},
    {"one input channel", 2, 28, 28, 1, 6, 5, 5, {1, 1, 2, 2, 2, 2}},
    {"one output channel", 3, 6, 7, 17, 1, 3, 3, {1, 1, 1, 1, 1, 1}},
    {"stride 2", 3, 7, 9, 6, 16, 3, 3, {2, 2, 1, 1, 1, 1}},
    {"stride 2, even image", 2, 8, 8, 16, 32, 3, 3, {2, 2, 1, 1, 1, 1}},
    {"strides 3 and 2, kernel 2x3", 2, 10, 11, 3, 5, 2, 3, {3, 2}},
    {"stride larger than kernel", 2, 7, 7, 4, 4, 1, 1, {3, 3}},
    {"asymmetric padding", 2, 6, 5, 3, 6, 3, 3, {1, 1, 0, 1, 2, 0}},
    {"asymmetric padding, stride 2", 2, 8, 8, 3, 16, 3, 3, {2, 2, 0, 0, 1, 1}},
    {"dilation 2", 2, 9, 9, 4, 6, 3, 3, {1, 1, 2, 2, 2, 2, 2, 2}},
    {"dilations 2 and 3, stride 2", 2, 11, 12, 3, 17, 3, 3, {2, 2, 2, 3, 1, 0, 2, 3}},
    {"padding beyond the kernel", 1, 3, 3, 2, 3, 2, 2, {1, 1, 3, 3, 3, 3}},
    {"kernel as large as the image", 2, 5, 5, 6, 10, 5, 5, {}},
    {"kernel 1x5", 2, 4, 9, 3, 3, 1, 5, {1, 1, 0, 2, 0, 2}},
    {"kernel 5x1", 2, 9, 4, 3, 3, 5, 1, {1, 1, 2, 0, 2, 0}},
    {"kernel 7x7, stride 2", 1, 17, 17, 3, 16, 7, 7, {2, 2, 3, 3, 3, 3}},
    {"1x1", 3, 8, 8, 64, 32, 1, 1, {}},
    {"1x1, stride 2", 2, 9, 9, 32, 64, 1, 1, {2, 2}},
    {"32 to 32", 4, 12, 12, 32, 32, 3, 3, {1, 1, 1, 1, 1, 1}},
    {"64 to 64", 2, 7, 7, 64, 64, 3, 3, {1, 1, 1, 1, 1, 1}},
    {"17 to 33", 2, 6, 6, 17, 33, 3, 3, {1, 1, 1, 1, 1, 1}},
    {"wide image", 1, 2, 67, 5, 16, 3, 3, {1, 1, 1, 1, 1, 1}},
    {"several sample blocks", 70, 5, 5, 3, 4, 3, 3, {1, 1, 1, 1, 1, 1}},
    {"one more than a sample block", 33, 7, 7, 16, 16, 3, 3, {1, 1, 1, 1, 1, 1}},
    {"large", 6, 28, 28, 32, 64, 3, 3, {1, 1, 1, 1, 1, 1}},
    {"large, many samples", 100, 14, 14, 16, 17, 3, 3, {2, 2, 0, 0, 1, 1}},
    {"many channels, long sums", 3, 7, 7, 160, 100, 3, 3, {1, 1, 1, 1, 1, 1}},
    {"many channels, 33 samples", 33, 4, 4, 100, 70, 3, 3, {1, 1, 1, 1, 1, 1}},
    {"many channels, strides 2 and 1", 1, 45, 44, 72, 40, 3, 3, {2, 1, 1, 2, 0, 1, 1, 2}},
    {"many channels, kernel 5x5", 2, 9, 9, 48, 48, 5, 5, {1, 1, 2, 2, 2, 2}},
    {"many channels, padding beyond the kernel", 2, 3, 3, 40, 36, 2, 2, {1, 1, 3, 3, 3, 3}},
    {"many channels, stride larger than kernel", 2, 7, 8, 40, 36, 2, 2, {3, 3, 1, 0, 0, 1}},
    {"16 channels, kernel 5x5", 2, 9, 8, 16, 24, 5, 5, {1, 1, 2, 2, 2, 2}},
    {"16 channels, dilation 2", 2, 9, 8, 16, 16, 3, 3, {1, 1, 2, 2, 2, 2, 2, 2}},
    {"16 channels, narrower than the kernel", 3, 6, 2, 16, 16, 3, 3, {1, 1, 1, 1, 1, 1}},
    {"16 channels, kernel 5x5, stride 2", 2, 9, 11, 16, 24, 5, 5, {2, 2, 2, 2, 2, 2}},
    {"8 channels, kernel 5x5, stride 2", 2, 9, 11, 8, 24, 5, 5, {2, 2, 2, 2, 2, 2}},
    {"few inputs, kernel 11x11, stride 4", 2, 35, 33, 3, 24, 11, 11, {4, 4, 2, 2, 2, 2}},
    {"few inputs, stride larger than kernel", 2, 9, 10, 3, 48, 2, 2, {3, 3}},
    {"few inputs, strides 2 and 1", 2, 9, 8, 4, 24, 3, 3, {2, 1, 1, 1, 1, 1}},
    {"few inputs, strides 1 and 2", 2, 9, 9, 3, 40, 3, 3, {1, 2, 1, 0, 1, 2}},
    {"few inputs, dilation and stride 2", 2, 11, 12, 3, 48, 3, 3, {2, 2, 2, 2, 2, 2, 2, 2}},
    {"few inputs, dilation 3, stride 2", 2, 13, 12, 3, 48, 3, 3, {2, 2, 3, 3, 3, 3, 3, 3}},
    {"few inputs, dilation 3, padding 2", 2, 13, 12, 3, 48, 3, 3, {2, 2, 3, 2, 3, 2, 3, 3}},
    {"few inputs, 4x4, dilation 3", 2, 15, 14, 3, 48, 4, 4, {2, 2, 3, 3, 3, 3, 3, 3}},
    {"few inputs, stride 9", 2, 20, 19, 3, 48, 9, 9, {9, 9}},
    {"few inputs, stride 2, one column", 2, 9, 1, 3, 48, 3, 3, {2, 2, 1, 1, 1, 1}},
    {"40 to 36, one column", 2, 6, 1, 40, 36, 3, 3, {1, 1, 1, 1, 1, 1}},
    {"40 to 36, 1x1, one column, padding", 2, 6, 1, 40, 36, 1, 1, {1, 1, 1, 1, 1, 1}},
    {"40 to 36, padding left only", 3, 6, 9, 40, 36, 3, 3, {1, 1, 0, 2, 1, 0}},
    {"40 to 16", 2, 9, 8, 40, 16, 3, 3, {1, 1, 1, 1, 1, 1}},
    {"24 to 8", 2, 9, 8, 24, 8, 3, 3, {1, 1, 1, 1, 1, 1}},
    {"1x1, 24 to 144", 34, 5, 6, 24, 144, 1, 1, {}},
    {"1x1, 96 to 300", 33, 3, 4, 96, 300, 1, 1, {}},
    {"1x1, 144 to 24", 3, 9, 7, 144, 24, 1, 1, {}},
    {"1x1, stride 2, padding below", 2, 3, 3, 16, 40, 1, 1, {2, 2, 0, 0, 2, 2}},
    {"1x1, many channels, 33 samples", 33, 3, 3, 300, 290, 1, 1, {}},
    {"1x1, many channels, stride 2, 33 samples", 33, 4, 7, 256, 260, 1, 1, {2, 2}},
    {"1x1, many channels, stride 2, many pixels", 3, 30, 26, 260, 253, 1, 1, {2, 2}},
    {"1x1, stride 2, long sums", 1, 3, 3, 2400, 20, 1, 1, {2, 2}},
    {"pixels 1 KiB apart", 1, 5, 6, 256, 64, 3, 3, {1, 1, 1, 1, 1, 1}},
    {"pixels 1 KiB apart, stride 2", 2, 7, 9, 128, 64, 3, 3, {2, 2, 1, 1, 1, 1}},
    {"pixels 1 KiB apart, 1x1, stride 2", 2, 5, 6, 128, 64, 1, 1, {2, 2}},
    {"1x1, strides 1 and 2, images in parts", 3, 17, 40, 2100, 5, 1, 1, {1, 2}},
    {"two groups", 2, 6, 6, 6, 4, 3, 3, {1, 1, 1, 1, 1, 1, 1, 1, 2}},
    {"four groups of 8 to 16", 2, 6, 6, 32, 64, 3, 3, {1, 1, 1, 1, 1, 1, 1, 1, 4}},
    {"groups of 2", 2, 7, 9, 12, 12, 3, 3, {1, 1, 1, 1, 1, 1, 1, 1, 6}},
    {"groups of 4", 5, 9, 8, 20, 20, 3, 3, {1, 1, 1, 1, 1, 1, 1, 1, 5}},
    {"groups of 4, stride 2", 2, 9, 12, 40, 40, 3, 3, {2, 2, 1, 1, 1, 1, 1, 1, 10}},
    {"groups of 4, 33 samples", 33, 5, 6, 76, 76, 3, 3, {1, 1, 1, 1, 1, 1, 1, 1, 19}},
    {"groups of 4, strips of rows", 1, 100, 60, 32, 32, 3, 3, {1, 1, 0, 2, 2, 0, 1, 1, 8}},
    {"groups of 4, dilation 2", 2, 9, 8, 16, 16, 3, 3, {1, 1, 2, 2, 2, 2, 2, 2, 4}},
    {"groups of 4, one column", 2, 5, 1, 24, 24, 3, 3, {1, 1, 1, 1, 1, 1, 1, 1, 6}},
    {"groups of 4, 15 columns", 2, 4, 15, 16, 16, 3, 3, {1, 1, 1, 1, 1, 1, 1, 1, 4}},
    {"groups of 8", 2, 7, 23, 24, 24, 3, 3, {1, 1, 1, 1, 1, 1, 1, 1, 3}},
    {"groups of 8, stride 2", 3, 8, 10, 48, 48, 3, 3, {2, 2, 0, 0, 1, 1, 1, 1, 6}},
    {"groups of 8, kernel 5x5", 2, 9, 8, 16, 16, 5, 5, {1, 1, 2, 2, 2, 2, 1, 1, 2}},
    {"groups of 8, kernel 7x7", 2, 5, 9, 16, 16, 7, 7, {1, 1, 3, 3, 3, 3, 1, 1, 2}},
    {"groups of 8, kernel 2x3", 2, 6, 7, 16, 16, 2, 3, {1, 1, 1, 1, 0, 1, 1, 1, 2}},
    {"groups of 8, padding beyond the kernel", 2, 3, 3, 16, 16, 2, 2, {1, 1, 3, 3, 3, 3, 1, 1, 2}},
    {"groups of 8, 1x1", 3, 5, 6, 40, 40, 1, 1, {1, 1, 0, 0, 0, 0, 1, 1, 5}},
    {"groups of 8, 1x1, stride 2", 3, 5, 6, 40, 40, 1, 1, {2, 2, 0, 0, 0, 0, 1, 1, 5}},
    {"groups of 8, kernel 4x4", 2, 6, 7, 24, 24, 4, 4, {1, 1, 1, 1, 2, 2, 1, 1, 3}},
    {"groups of 16", 3, 7, 14, 48, 48, 3, 3, {1, 1, 1, 1, 1, 1, 1, 1, 3}},
    {"groups of 16, stride 2", 2, 9, 8, 32, 32, 3, 3, {2, 2, 1, 1, 1, 1, 1, 1, 2}},
    {"groups of 32", 33, 4, 5, 256, 256, 3, 3, {1, 1, 1, 1, 1, 1, 1, 1, 8}},
    {"groups of 32, strips of rows", 1, 22, 23, 256, 256, 3, 3, {1, 1, 0, 1, 2, 1, 1, 1, 8}},
    {"groups of 32, strips, stride 2", 1, 46, 40, 256, 256, 3, 3, {2, 2, 1, 1, 1, 1, 1, 1, 8}},
    {"groups of 40 to 48, stride 2", 2, 9, 8, 280, 336, 3, 3, {2, 2, 1, 1, 1, 1, 1, 1, 7}},
    {"depthwise 16", 2, 8, 8, 16, 16, 3, 3, {1, 1, 1, 1, 1, 1, 1, 1, 16}},
    {"depthwise 17, stride 2", 2, 9, 9, 17, 17, 3, 3, {2, 2, 1, 1, 1, 1, 1, 1, 17}},
    {"depthwise 32, 35 samples", 35, 6, 6, 32, 32, 3, 3, {1, 1, 1, 1, 1, 1, 1, 1, 32}},
    {"depthwise 40, wide, odd height", 2, 7, 23, 40, 40, 3, 3, {1, 1, 1, 1, 1, 1, 1, 1, 40}},
    {"depthwise 40, wide, stride 2", 2, 12, 36, 40, 40, 3, 3, {2, 2, 0, 0, 1, 1, 1, 1, 40}},
    {"depthwise 35, strips of rows", 1, 90, 40, 35, 35, 3, 3, {1, 1, 0, 2, 2, 0, 1, 1, 35}},
    {"depthwise 20, kernel 5x5", 2, 9, 8, 20, 20, 5, 5, {1, 1, 2, 2, 2, 2, 1, 1, 20}},
    {"depthwise 20, kernel 5x5, stride 2", 2, 9, 12, 20, 20, 5, 5, {2, 2, 2, 2, 2, 2, 1, 1, 20}},
    {"depthwise 17, kernel 7x7", 2, 5, 9, 17, 17, 7, 7, {1, 1, 3, 3, 3, 3, 1, 1, 17}},
    {"depthwise 270, kernel 5x5", 2, 5, 6, 270, 270, 5, 5, {1, 1, 2, 2, 2, 2, 1, 1, 270}},
    {"depthwise 8, padding above only", 2, 3, 6, 8, 8, 3, 3, {1, 1, 3, 0, 0, 1, 1, 1, 8}},
    {"depthwise 24, one column", 2, 5, 1, 24, 24, 3, 3, {1, 1, 1, 1, 1, 1, 1, 1, 24}},
    {"depthwise 24, two columns, stride 2", 3, 5, 2, 24, 24, 3, 3, {2, 2, 1, 1, 1, 1, 1, 1, 24}},
    {"depthwise 9, five columns, padding 2", 2, 4, 5, 9, 9, 3, 3, {1, 1, 2, 2, 2, 2, 1, 1, 9}},
    {"depthwise 8, padding left only", 2, 5, 9, 8, 8, 3, 3, {1, 1, 1, 1, 0, 0, 1, 1, 8}},
    {"depthwise 8, padding beyond the kernel", 1, 3, 3, 8, 8, 2, 2, {1, 1, 3, 3, 3, 3, 1, 1, 8}},
    {"depthwise 300, 7 pixels", 2, 7, 7, 300, 300, 3, 3, {1, 1, 1, 1, 1, 1, 1, 1, 300}},
    {"depthwise 270, stride 2, 65 samples",
     65,
     4,
     5,
     270,
     270,
     3,
     3,
     {2, 2, 1, 1, 1, 1, 1, 1, 270}},
    {"depthwise, two outputs each", 2, 6, 6, 3, 6, 3, 3, {1, 1, 1, 1, 1, 1, 1, 1, 3}},
    {"depthwise, dilation 2", 2, 7, 7, 6, 6, 3, 3, {1, 1, 2, 2, 2, 2, 2, 2, 6}},
};

void add_forward(CaseList& list, const Row& r, DType type) {
  struct Option {
    bool bias;
    api::Activation activation;
  };
  for (const Option option : {Option{false, api::Activation::none},
                              {true, api::Activation::relu},
                              {true, api::Activation::none}}) {
    const auto text = fmt::format("{}{}, {}", r.text(), option.bias ? ", bias" : "",
                                  api::name_of(option.activation));
    list.add(api::Op::conv_forward, type, text, [=](Trial& t) {
      api::ConvForward a;
      a.x = t.in("x", r.x(), type);
      a.w = t.in("w", r.weight(), type);
      if (option.bias) a.bias = t.in("bias", {r.o}, type);
      a.y = t.out("y", r.y(), type, Bound::absolute(type, r.kh * r.kw * r.i / r.g.groups));
      a.geometry = r.g;
      a.activation = option.activation;
      t.backend().conv().forward(a);
    });
  }
}

void add_backward_data(CaseList& list, const Row& r, DType type) {
  list.add(api::Op::conv_backward_data, type, r.text(), [=](Trial& t) {
    api::ConvBackwardData a;
    a.dy = t.in("dy", r.y(), type);
    a.w = t.in("w", r.weight(), type);
    a.dx = t.out("dx", r.x(), type, Bound::absolute(type, r.kh * r.kw * r.o / r.g.groups));
    a.geometry = r.g;
    t.backend().conv().backward_data(a);
  });
}

void add_backward_weights(CaseList& list, const Row& r, DType type) {
  struct Option {
    bool bias, accumulate;
    DType out;
  };
  for (const Option option :
       {Option{true, false, type}, {false, true, type}, {true, true, DType::f64}}) {
    if (option.out != type && type == DType::f64) continue;
    const auto text =
        fmt::format("{}{}{}, dw {}", r.text(), option.bias ? ", db" : "",
                    option.accumulate ? ", accumulate" : "", core::name_of(option.out));
    list.add(api::Op::conv_backward_weights, type, text, [=](Trial& t) {
      // Inside a block of samples the sums may be kept in `type`; across blocks they are f64.
      const std::int64_t pixels = r.y()[1] * r.y()[2];
      const Bound bound = Bound::absolute(type, std::min(r.n, api::kSampleBlock) * pixels);
      const auto gradient = [&](const char* name, Shape shape) {
        return option.accumulate ? t.inout(name, shape, option.out, {}, bound)
                                 : t.out(name, shape, option.out, bound);
      };
      api::ConvBackwardWeights a;
      a.x = t.in("x", r.x(), type);
      a.dy = t.in("dy", r.y(), type);
      a.dw = gradient("dw", r.weight());
      if (option.bias) a.db = gradient("db", {r.o});
      a.geometry = r.g;
      a.accumulate = option.accumulate;
      t.backend().conv().backward_weights(a);
    });
  }
}

/// Kernels that multiply a padded tap by zero, or a skipped tap at all, turn a NaN or infinity
/// elsewhere in the image into NaN here.
void add_border_case(CaseList& list, DType type) {
  list.add(api::Op::conv_forward, type, "infinity in one pixel stays in its windows",
           [=](Trial& t) {
             api::ConvForward a;
             a.x = t.in("x", {1, 6, 6, 1}, type, Values([](std::int64_t i, double draw) {
                          return i == 14 ? std::numeric_limits<double>::infinity() : draw;
                        }));
             a.w = t.in("w", {1, 3, 3, 1}, type, Values::uniform(0.5, 1.0));
             a.y = t.out("y", {1, 6, 6, 1}, type, Bound::absolute(type, 9));
             a.geometry = {1, 1, 1, 1, 1, 1};
             t.backend().conv().forward(a);
           });
}

}  // namespace

void add_conv_cases(CaseList& list) {
  for (const DType type : kRealTypes) {
    for (const Row& r : kRows) {
      add_forward(list, r, type);
      add_backward_data(list, r, type);
      add_backward_weights(list, r, type);
    }
    add_border_case(list, type);
  }
}

}  // namespace isaribi::selftest
