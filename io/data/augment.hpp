// SPDX-License-Identifier: MIT
// From a stored image to the f32 image that training sees: mirrored, shifted, normalised and erased
// in one pass. What happens to a sample depends on (seed, epoch, sample id) alone.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/dtype.hpp"
#include "core/shape.hpp"
#include "io/data/settings.hpp"

namespace isaribi::data {

/// A drawn augmentation.
struct Transform {
  bool flip = false;
  std::int64_t dy = 0, dx = 0;  ///< the output pixel (y, x) shows the input pixel (y + dy, x + dx)
  std::int64_t erase_top = 0, erase_left = 0, erase_height = 0, erase_width = 0;
};

/// The transform of one sample of [H, W, C].
Transform draw_transform(const AugmentSettings& settings, const core::Shape& sample,
                         std::uint64_t seed, std::int64_t epoch, std::int64_t id);

/// Normalises and transforms images of one shape and type.
class Normalizer {
 public:
  /// @param mean, std per channel, in units of values / 255 for u8 images; empty: unit scale, which
  /// is x / 255 for u8 and x for f32.
  Normalizer(const core::Shape& sample, core::DType type, const std::vector<double>& mean,
             const std::vector<double>& std);
  /// `image` [H, W, C] of the stored type to `out` [H, W, C] f32. What a shift brings in and what
  /// is erased is 0, the mean.
  void apply(const std::byte* image, const Transform& transform, float* out) const;

 private:
  template <typename T>
  void convert(const T* in, float* out, std::int64_t pixels, bool flip) const;
  template <typename T>
  void shift_image(const T* in, const Transform& transform, float* out) const;
  template <typename T>
  void transform_image(const T* in, const Transform& transform, float* out) const;

  std::int64_t height_, width_, channels_;
  core::DType type_;
  /// u8: every stored value of every channel, computed in double once, so that the result is the
  /// same on every machine.
  std::vector<float> table_;
  std::vector<float> scale_, shift_;  ///< f32
};

}  // namespace isaribi::data
