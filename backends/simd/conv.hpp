// SPDX-License-Identifier: MIT
// Convolution family of simd: f32 here, the rest falls back.
#pragma once

#include <vector>

#include "backends/api/conv.hpp"
#include "backends/simd/context.hpp"

namespace isaribi::simd {

/// One kernel tap seen from an output pixel: where it reads in the padded input, which weights it
/// uses.
struct Tap {
  std::int64_t row = 0, column = 0;  ///< in the padded input, relative to the pixel's origin
  std::int64_t index = 0;            ///< r * KW + s
};

/// Output pixels (first + step * i) that see the same taps. A forward pass is one phase; the data
/// gradient of a strided convolution has stride_h x stride_w of them.
struct Phase {
  std::int64_t first_row = 0, first_column = 0;
  std::int64_t rows = 0, columns = 0;
  std::vector<Tap> taps;
  std::vector<std::ptrdiff_t> offset;  ///< start of each contiguous run of taps
  std::int64_t run_taps = 1;           ///< taps per run
  std::int64_t run = 0;                ///< elements of a segment: a run, or an equal part of one
  std::vector<std::int64_t> tap_row;   ///< of each segment, in the padded input
  std::vector<unsigned char> edge;     ///< of each segment, or empty: ConvPanel::edge
  std::int64_t weights = 0;            ///< where its packed weights start
};

/// A convolution as the panel kernel sees it: y[n, phase pixel, o] = sum over taps and channels of
/// the padded input times w[o, tap, k]. Forward reads x; the data gradient reads dy.
struct ConvWork {
  const float* x = nullptr;  ///< [n, h, w, c]
  float* y = nullptr;        ///< [n, out_h, out_w, out_c]
  std::int64_t n = 0, h = 0, w = 0, c = 0, out_h = 0, out_w = 0, out_c = 0;
  std::int64_t lead_h = 0, lead_w = 0, tail_h = 0, tail_w = 0;  ///< zero padding
  std::int64_t in_step_h = 1, in_step_w = 1;                    ///< input step per output pixel
  std::int64_t out_step_h = 1, out_step_w = 1;  ///< output step between pixels of a phase
  std::int64_t apart = 0;  ///< elements between pixels of the padded copy, see run_conv
  bool in_place = false;   ///< nothing reads the padding: there is no copy of the input
  std::int64_t groups = 1, group_in = 0, group_out = 0;
  const float* weights = nullptr;
  std::int64_t w_out = 0, w_tap = 0, w_in = 0, w_group = 0;  ///< strides of its four axes
  const float* bias = nullptr;
  bool relu = false;
  std::vector<Phase> phases;  ///< only the first phase_count are in use (capacity is kept)
  std::size_t phase_count = 0;

  std::int64_t padded_w() const { return lead_w + w + tail_w; }
  std::int64_t pixel() const { return c + apart; }  ///< of the padded copy
  /// Of what the panels read.
  std::int64_t row() const { return (in_place ? w : padded_w()) * pixel(); }
  bool padded() const { return !in_place && lead_h + lead_w + tail_h + tail_w + apart > 0; }
  /// Nothing is left of the convolution before, but the memory of its phases.
  ConvWork& start();
  Phase& add_phase();
};

class Conv final : public api::ConvOps {
 public:
  explicit Conv(Context& context) : context_(context) {}

 private:
  void do_forward(const api::ConvForward& args) override;
  void do_backward_data(const api::ConvBackwardData& args) override;
  void do_backward_weights(const api::ConvBackwardWeights& args) override;

  Context& context_;
  ConvWork work_;
};

/// Runs `work`: packs weights, pads strips, calls panels. conv_run.cpp
void run_conv(ConvWork& work, Context& context);

/// Layers with one channel per group, or 2^k that a vector holds, both passes through ConvWork;
/// false where it does not apply. conv_depthwise.cpp
bool run_depthwise(ConvWork& work, Context& context);

/// The form for few output channels, when it applies; phases hold their runs. conv_wide.cpp
bool run_wide(ConvWork& work, Context& context);

/// Copies rows [row, row + rows) of the padded image, of each pixel the first `channels` channels,
/// to `to` ([rows, padded_w, pixel]), zeros outside.
void pad_rows(const ConvWork& work, const float* image, std::int64_t row, std::int64_t rows,
              std::int64_t channels, std::int64_t pixel, float* to);

}  // namespace isaribi::simd
