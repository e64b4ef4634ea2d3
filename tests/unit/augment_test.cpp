// SPDX-License-Identifier: MIT
// Augmentation against its definition, pixel by pixel, and its distribution over samples.
#include "io/data/augment.hpp"

#include <cmath>
#include <vector>

#include "catch.hpp"

using namespace isaribi;
using namespace isaribi::data;

namespace {

/// The definition: output pixel (y, x) shows input (y + dy, x + dx) of the possibly mirrored image.
std::vector<float> by_definition(const std::vector<std::uint8_t>& in, const core::Shape& s,
                                 const Transform& t) {
  std::vector<float> out(in.size(), 0.0f);
  for (std::int64_t y = 0; y < s[0]; ++y) {
    for (std::int64_t x = 0; x < s[1]; ++x) {
      const std::int64_t from_y = y + t.dy, from = x + t.dx;
      const bool erased = y >= t.erase_top && y < t.erase_top + t.erase_height &&
                          x >= t.erase_left && x < t.erase_left + t.erase_width;
      if (erased || from_y < 0 || from_y >= s[0] || from < 0 || from >= s[1]) continue;
      const std::int64_t from_x = t.flip ? s[1] - 1 - from : from;
      for (std::int64_t c = 0; c < s[2]; ++c) {
        const int stored = in[static_cast<std::size_t>((from_y * s[1] + from_x) * s[2] + c)];
        out[static_cast<std::size_t>((y * s[1] + x) * s[2] + c)] =
            static_cast<float>((stored / 255.0 - 0.25 * static_cast<double>(c)) / 0.5);
      }
    }
  }
  return out;
}

}  // namespace

TEST_CASE("every transform equals its definition") {
  for (const core::Shape& shape :
       {core::Shape{5, 7, 1}, core::Shape{4, 4, 3}, core::Shape{2, 3, 2}}) {
    std::vector<std::uint8_t> in(static_cast<std::size_t>(shape.count()));
    for (std::size_t i = 0; i < in.size(); ++i) in[i] = static_cast<std::uint8_t>(i * 53 + 1);
    const auto channels = static_cast<std::size_t>(shape[2]);
    std::vector<double> mean, std(channels, 0.5);
    for (std::size_t c = 0; c < channels; ++c) mean.push_back(0.25 * static_cast<double>(c));
    const Normalizer normalizer(shape, core::DType::u8, mean, std);
    std::vector<float> out(in.size(), 99.0f);
    for (std::int64_t dy = -9; dy <= 9; ++dy) {
      for (std::int64_t dx = -9; dx <= 9; ++dx) {
        for (const bool flip : {false, true}) {
          Transform t{.flip = flip, .dy = dy, .dx = dx};
          if ((dy + dx) % 3 == 0) t.erase_height = t.erase_width = 1;
          normalizer.apply(reinterpret_cast<const std::byte*>(in.data()), t, out.data());
          REQUIRE(out == by_definition(in, shape, t));
        }
      }
    }
  }
}

TEST_CASE("draws depend on seed, epoch and sample alone and cover their ranges evenly") {
  const core::Shape shape{28, 28, 1};
  const AugmentSettings settings{.flip = true, .crop = 2, .erase = 0.5};
  const int n = 20000;
  int flips = 0, erased = 0;
  std::vector<int> dy(5), dx(5);
  double area = 0;
  for (std::int64_t id = 0; id < n; ++id) {
    const Transform t = draw_transform(settings, shape, 1, 2, id);
    const Transform again = draw_transform(settings, shape, 1, 2, id);
    REQUIRE((t.flip == again.flip && t.dy == again.dy && t.erase_left == again.erase_left));
    flips += t.flip;
    ++dy.at(static_cast<std::size_t>(t.dy + 2));
    ++dx.at(static_cast<std::size_t>(t.dx + 2));
    if (t.erase_height == 0) continue;
    ++erased;
    REQUIRE((t.erase_top >= 0 && t.erase_top + t.erase_height <= 28));
    REQUIRE((t.erase_left >= 0 && t.erase_left + t.erase_width <= 28));
    area += static_cast<double>(t.erase_height * t.erase_width) / (28 * 28);
  }
  CHECK(std::abs(flips - n / 2) < 5 * 71);
  CHECK(std::abs(erased - n / 2) < 5 * 71);
  for (int i = 0; i < 5; ++i) {
    CHECK(std::abs(dy[static_cast<std::size_t>(i)] - n / 5) < 5 * 57);
    CHECK(std::abs(dx[static_cast<std::size_t>(i)] - n / 5) < 5 * 57);
  }
  CHECK(area / erased == Approx(0.135).margin(0.01));  // mean of uniform 0.02 ... 0.25
  int differ = 0;
  for (std::int64_t id = 0; id < 100; ++id) {
    differ += draw_transform(settings, shape, 1, 2, id).dy !=
              draw_transform(settings, shape, 1, 3, id).dy;
  }
  CHECK(differ > 50);
  const Transform none = draw_transform({}, shape, 1, 2, 3);
  CHECK((!none.flip && none.dy == 0 && none.dx == 0 && none.erase_height == 0));
}

TEST_CASE("unit scale and constant channels are finite and exact") {
  const std::vector<std::uint8_t> in = {0, 51, 255, 255};
  const auto* bytes = reinterpret_cast<const std::byte*>(in.data());
  std::vector<float> out(4);
  Normalizer({2, 2, 1}, core::DType::u8, {}, {}).apply(bytes, {}, out.data());
  CHECK(out == std::vector<float>{0.0f, 0.2f, 1.0f, 1.0f});
  Normalizer({2, 2, 1}, core::DType::u8, {1.0}, {0.0}).apply(bytes, {}, out.data());
  CHECK(out == std::vector<float>{-1.0f, -0.8f, 0.0f, 0.0f});
  const std::vector<float> values = {-3.0f, 0.5f, 0.0f, 7.0f};
  Normalizer({2, 2, 1}, core::DType::f32, {}, {})
      .apply(reinterpret_cast<const std::byte*>(values.data()), {}, out.data());
  CHECK(out == values);
  const std::vector<float> pixels = {1.0f, 2.0f, 3.0f, -1.0f, 0.5f, 0.0f};
  std::vector<float> mirrored(6);
  Normalizer({1, 2, 3}, core::DType::f32, {0.0, 1.0, 2.0}, {0.5, 0.25, 1.0})
      .apply(reinterpret_cast<const std::byte*>(pixels.data()), {.flip = true}, mirrored.data());
  CHECK(mirrored == std::vector<float>{-2.0f, -2.0f, -2.0f, 2.0f, 4.0f, 1.0f});
}
