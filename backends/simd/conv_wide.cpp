// SPDX-License-Identifier: MIT
// Convolutions with no more output channels than a vector has lanes (16, or the data gradient of a
// layer with 3 or 6 input channels): a panel of one vector would leave lanes empty and wait for the
// loads of pixels, one for each of its FMAs. Instead all taps of a kernel row are computed side by
// side,
// z[q, s O + o] = sum over kernel rows and input channels of x[.., q, k] w[o, r, s, k], for every
// unpadded input column q; then y[w, o] = sum_s z[w + s, s O + o] is gathered, KW additions per
// pixel. The data gradient of a strided layer does so for each of its phases. 5 x 5 with 6 outputs:
// 30 of 32 lanes instead of 6 of 16, and no work on padding.
#include <algorithm>
#include <cstring>

#include "backends/simd/conv.hpp"
#include "backends/simd/parallel.hpp"

namespace isaribi::simd {
namespace {

constexpr std::int64_t kMinDepth = 16;  // multiply-adds per lane that pay for the gathering

/// Vectors needed for all taps of a kernel row, 0 when this form does not apply or does not pay.
/// Measured on an Intel Xeon (family 6 model 207): FMAs of one-vector tiles take 1.2 times as long
/// as those of two to four, and gathering a pixel as long as 14 FMAs.
int wide_vectors(const ConvWork& work, const Phase& phase, const Kernels& kernels) {
  const auto rows = static_cast<std::int64_t>(phase.offset.size());
  if (work.groups != 1 || work.in_step_w != 1 || phase.run_taps < 2 || rows * work.c < kMinDepth ||
      work.group_out > kernels.lanes) {
    return 0;
  }
  constexpr double kOneVector = 1.2, kGather = 14;
  const std::int64_t taps = phase.run_taps;
  const std::int64_t vectors = (taps * work.group_out + kernels.lanes - 1) / kernels.lanes;
  if (vectors > kMaxPanelVectors) return 0;
  const auto depth = static_cast<double>(rows * work.c),
             columns = static_cast<double>(phase.columns);
  const double narrow = kOneVector * columns * static_cast<double>(taps) * depth;
  const double wide = static_cast<double>(work.w * vectors) * depth + kGather * columns;
  return wide < narrow ? static_cast<int>(vectors) : 0;
}

/// [kernel row][k][width] with tap s of output o at s O + o.
void pack(const ConvWork& work, const Phase& phase, std::int64_t width, float* packed) {
  const auto rows = static_cast<std::int64_t>(phase.offset.size());
  std::memset(packed, 0, static_cast<std::size_t>(rows * work.c * width) * sizeof(float));
  for (std::size_t t = 0; t < phase.taps.size(); ++t) {
    const std::int64_t row = static_cast<std::int64_t>(t) / phase.run_taps;
    const std::int64_t s = static_cast<std::int64_t>(t) % phase.run_taps;
    for (std::int64_t k = 0; k < work.c; ++k) {
      float* to = packed + (row * work.c + k) * width + s * work.out_c;
      const float* from = work.weights + phase.taps[t].index * work.w_tap + k * work.w_in;
      for (std::int64_t o = 0; o < work.out_c; ++o) to[o] = from[o * work.w_out];
    }
  }
}

/// Row p of a phase: the kernel rows that lie inside the image, side by side, then gathered.
void run_row(const ConvWork& work, const Phase& phase, const Kernels& kernels, const float* packed,
             std::int64_t width, std::int64_t n, std::int64_t p, float* z, ConvPanel& a,
             GatherRow& gather) {
  const auto rows = static_cast<std::int64_t>(phase.offset.size());
  const std::int64_t top = p * work.in_step_h - work.lead_h;
  std::int64_t first = 0, end = rows;  // kernel rows whose taps lie inside
  const auto at = [&](std::int64_t r) {
    return top + phase.taps[static_cast<std::size_t>(r * phase.run_taps)].row;
  };
  while (first < end && at(first) < 0) ++first;
  while (end > first && at(end - 1) >= work.h) --end;
  a.x = work.x + (n * work.h + top) * work.w * work.c;  // rows before `first` are not read
  a.offset = phase.offset.data() + first;
  a.segments = static_cast<int>(end - first);
  a.w = packed + first * work.c * width;
  a.y = z + work.lead_w * width;
  kernels.conv_panel(a);
  gather.y = work.y + ((n * work.out_h + phase.first_row + p * work.out_step_h) * work.out_w +
                       phase.first_column) *
                          work.out_c;
  kernels.gather_row(gather);
}

void run_phase(const ConvWork& work, Phase& phase, Context& context) {
  const Kernels& kernels = context.kernels();
  Scratch& scratch = context.scratch;
  const int vectors = wide_vectors(work, phase, kernels);
  const std::int64_t width = static_cast<std::int64_t>(vectors) * kernels.lanes;
  const auto rows = static_cast<std::int64_t>(phase.offset.size());
  float* packed = scratch.get<float>(Use::weights, rows * work.c * width);
  pack(work, phase, width, packed);
  for (std::size_t r = 0; r < phase.offset.size(); ++r) {  // the input is read where it lies
    phase.offset[r] =
        phase.taps[r * static_cast<std::size_t>(phase.run_taps)].row * work.w * work.c;
  }
  const std::int64_t z_columns = work.lead_w + work.w + work.tail_w + 1;
  const std::int64_t items = work.n * phase.rows;
  parallel_ranges(items, items * work.w * work.c * 16, 1, [&](Range range) {
    float* z = scratch.get<float>(Use::strip, z_columns * width, omp_get_thread_num());
    std::memset(z, 0, static_cast<std::size_t>(z_columns * width) * sizeof(float));
    ConvPanel a{};
    a.x_pixel = work.c;
    a.run = static_cast<int>(work.c);
    a.y_pixel = width;
    a.rows = 1;
    a.columns = work.w;
    a.vectors = vectors;
    a.channels = static_cast<int>(width);
    GatherRow gather{};
    gather.z = z + phase.taps.front().column * width;
    gather.z_pixel = width;
    gather.taps = static_cast<int>(phase.run_taps);
    gather.columns = phase.columns;
    gather.channels = static_cast<int>(work.out_c);
    gather.y_pixel = work.out_step_w * work.out_c;
    gather.bias = work.bias;
    gather.relu = work.relu;
    for (std::int64_t item = range.begin; item < range.end; ++item) {
      run_row(work, phase, kernels, packed, width, item / phase.rows, item % phase.rows, z, a,
              gather);
    }
  });
}

}  // namespace

bool run_wide(ConvWork& work, Context& context) {
  for (std::size_t i = 0; i < work.phase_count; ++i) {
    const Phase& phase = work.phases[i];
    const bool empty = phase.rows == 0 || phase.columns == 0;
    if (!empty && wide_vectors(work, phase, context.kernels()) == 0) return false;
  }
  for (std::size_t i = 0; i < work.phase_count; ++i) {
    Phase& phase = work.phases[i];
    if (phase.rows > 0 && phase.columns > 0) run_phase(work, phase, context);
  }
  return true;
}

}  // namespace isaribi::simd
