// SPDX-License-Identifier: MIT
#include "backends/simd/factor_patches.hpp"

#include <algorithm>
#include <cstring>
#include <type_traits>

namespace isaribi::simd {
namespace {

/// Copies of a few elements: a call would take longer than they do.
void copy_few(const float* from, std::int64_t count, float* to) {
  constexpr std::int64_t kSixteen = 16, kFour = 4;
  const auto copy = [&](std::int64_t at, auto n) {
    std::memcpy(to + at, from + at, static_cast<std::size_t>(n) * sizeof(float));
  };
  std::int64_t i = 0;
  for (; i + kSixteen <= count; i += kSixteen)
    copy(i, std::integral_constant<std::int64_t, kSixteen>{});
  for (; i + kFour <= count; i += kFour) copy(i, std::integral_constant<std::int64_t, kFour>{});
  for (; i < count; ++i) to[i] = from[i];
}

}  // namespace

PatchRows::PatchRows(const api::PatchCovariance& args)
    : x_(args.x.data<float>()),
      n_(args.x.shape()[0]),
      h_(args.x.shape()[1]),
      w_(args.x.shape()[2]),
      channels_(args.x.shape()[3]),
      kh_(args.kh),
      kw_(args.kw),
      g_(args.geometry),
      out_h_(g_.out_h(h_, kh_)),
      out_w_(g_.out_w(w_, kw_)),
      in_place_(kh_ * kw_ == 1 && g_ == api::ConvGeometry{}) {}

void PatchRows::copy(std::int64_t row, float* to) const {
  const std::int64_t n = row / positions(), t = row % positions();
  const std::int64_t top = t / out_w_ * g_.stride_h - g_.pad_top;
  const std::int64_t left = t % out_w_ * g_.stride_w - g_.pad_left;
  const std::int64_t taps = g_.dilation_w == 1 ? kw_ : 1;  // that lie together
  for (std::int64_t r = 0; r < kh_; ++r) {
    const std::int64_t y = top + r * g_.dilation_h;
    for (std::int64_t s = 0; s < kw_; s += taps, to += taps * channels_) {
      const std::int64_t x = left + s * g_.dilation_w;
      const bool outside = y < 0 || y >= h_;
      const std::int64_t first = outside ? taps : std::clamp<std::int64_t>(-x, 0, taps);
      const std::int64_t last = outside ? taps : std::clamp<std::int64_t>(w_ - x, first, taps);
      std::fill(to, to + first * channels_, 0.0f);
      if (last > first)
        copy_few(x_ + ((n * h_ + y) * w_ + x + first) * channels_, (last - first) * channels_,
                 to + first * channels_);
      std::fill(to + last * channels_, to + taps * channels_, 0.0f);
    }
  }
}

}  // namespace isaribi::simd
