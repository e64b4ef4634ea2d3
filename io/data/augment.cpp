// SPDX-License-Identifier: MIT
#include "io/data/augment.hpp"

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "core/error.hpp"
#include "core/rng.hpp"

namespace isaribi::data {
namespace {

double unit(std::uint32_t word) {
  return static_cast<double>(word) * 0x1p-32;
}

/// Uniform in 0 ... count-1.
std::int64_t below(std::uint32_t word, std::int64_t count) {
  return static_cast<std::int64_t>((std::uint64_t{word} * static_cast<std::uint64_t>(count)) >> 32);
}

/// Random erasing (Zhong et al. 2017, algorithm 1): a rectangle of random area and aspect ratio,
/// drawn again while it does not fit, here at most ten times.
void draw_erasing(const AugmentSettings& settings, const core::Shape& sample,
                  const core::Philox& random, std::uint64_t id, Transform& t) {
  const double area = static_cast<double>(sample[0] * sample[1]);
  const double log_aspect = std::log(settings.erase_aspect_min);  // aspect in [a, 1 / a]
  for (std::uint64_t attempt = 1; attempt <= 10; ++attempt) {
    const core::Words4 r = random.block(id, attempt);
    const double share = settings.erase_area_min +
                         unit(r.w[0]) * (settings.erase_area_max - settings.erase_area_min);
    const double aspect = std::exp(log_aspect * (1.0 - 2.0 * unit(r.w[1])));
    const std::int64_t height = std::lround(std::sqrt(share * area * aspect));
    const std::int64_t width = std::lround(std::sqrt(share * area / aspect));
    if (height < 1 || width < 1 || height > sample[0] || width > sample[1]) continue;
    t.erase_height = height;
    t.erase_width = width;
    t.erase_top = below(r.w[2], sample[0] - height + 1);
    t.erase_left = below(r.w[3], sample[1] - width + 1);
    return;
  }
}

}  // namespace

Transform draw_transform(const AugmentSettings& settings, const core::Shape& sample,
                         std::uint64_t seed, std::int64_t epoch, std::int64_t id) {
  Transform t;
  if (!settings.flip && settings.crop == 0 && settings.erase <= 0) return t;
  const core::Philox random(seed, core::Purpose::augment, static_cast<std::uint64_t>(epoch));
  const auto key = static_cast<std::uint64_t>(id);
  const core::Words4 r = random.block(key, 0);
  t.flip = settings.flip && (r.w[0] & 1) != 0;
  t.dy = below(r.w[1], 2 * settings.crop + 1) - settings.crop;
  t.dx = below(r.w[2], 2 * settings.crop + 1) - settings.crop;
  if (unit(r.w[3]) < settings.erase) draw_erasing(settings, sample, random, key, t);
  return t;
}

Normalizer::Normalizer(const core::Shape& sample, core::DType type, const std::vector<double>& mean,
                       const std::vector<double>& std)
    : height_(sample[0]), width_(sample[1]), channels_(sample[2]), type_(type) {
  for (std::size_t c = 0; c < static_cast<std::size_t>(channels_); ++c) {
    const double m = mean.empty() ? 0.0 : mean.at(c);
    // A constant channel has no scale of its own.
    const double s = std.empty() || std.at(c) == 0.0 ? 1.0 : std.at(c);
    for (int v = 0; type == core::DType::u8 && v < 256; ++v) {
      table_.push_back(static_cast<float>((v / 255.0 - m) / s));
    }
    scale_.push_back(static_cast<float>(1.0 / s));
    shift_.push_back(static_cast<float>(-m / s));
  }
}

void Normalizer::apply(const std::byte* image, const Transform& transform, float* out) const {
  if (type_ == core::DType::u8) {
    transform_image(reinterpret_cast<const std::uint8_t*>(image), transform, out);
  } else {
    transform_image(reinterpret_cast<const float*>(image), transform, out);
  }
}

/// `pixels` pixels in a row; mirrored ones are read from `in` downwards.
template <typename T>
void Normalizer::convert(const T* in, float* out, std::int64_t pixels, bool flip) const {
  const auto value = [&] {  // in locals: what is written might be a member
    if constexpr (std::is_same_v<T, std::uint8_t>) {
      return [table = table_.data()](T stored, std::int64_t c) { return table[c * 256 + stored]; };
    } else {
      return [scale = scale_.data(), shift = shift_.data()](T stored, std::int64_t c) {
        return stored * scale[c] + shift[c];
      };
    }
  }();
  const auto convert_all = [&](auto channels) {
    const std::int64_t step = flip ? -channels : channels;
    for (std::int64_t x = 0; x < pixels; ++x, in += step, out += channels) {
      for (std::int64_t c = 0; c < channels; ++c) out[c] = value(in[c], c);
    }
  };
  // Known to the compiler, twice as fast.
  if (channels_ == 1) return convert_all(std::integral_constant<std::int64_t, 1>{});
  if (channels_ == 3) return convert_all(std::integral_constant<std::int64_t, 3>{});
  convert_all(channels_);
}

template <typename T>
void Normalizer::shift_image(const T* in, const Transform& t, float* out) const {
  const std::int64_t row = width_ * channels_;
  // Output columns whose source x + dx lies inside the (mirrored) image.
  const std::int64_t first = std::clamp<std::int64_t>(-t.dx, 0, width_);
  const std::int64_t last = std::clamp<std::int64_t>(width_ - t.dx, first, width_);
  const std::int64_t source = t.flip ? width_ - 1 - (first + t.dx) : first + t.dx;
  for (std::int64_t y = 0; y < height_; ++y) {
    float* line = out + y * row;
    const std::int64_t from = y + t.dy;
    if (from < 0 || from >= height_ || first == last) {
      std::fill(line, line + row, 0.0f);
      continue;
    }
    std::fill(line, line + first * channels_, 0.0f);
    convert(in + from * row + source * channels_, line + first * channels_, last - first, t.flip);
    std::fill(line + last * channels_, line + row, 0.0f);
  }
}

template <typename T>
void Normalizer::transform_image(const T* in, const Transform& t, float* out) const {
  if (t.dy == 0 && t.dx == 0 && !t.flip) {
    convert(in, out, height_ * width_, false);
  } else {
    shift_image(in, t, out);
  }
  for (std::int64_t y = t.erase_top; y < t.erase_top + t.erase_height; ++y) {
    float* line = out + (y * width_ + t.erase_left) * channels_;
    std::fill(line, line + t.erase_width * channels_, 0.0f);
  }
}

}  // namespace isaribi::data
