// SPDX-License-Identifier: MIT
// Convolutions with no more output channels than a vector has lanes (16, or the data gradient of a
// layer with 3 or 6 input channels): a panel of one vector would leave lanes empty and wait for the
// loads of pixels, one for each of its FMAs. Instead all taps of a kernel row are computed side by
// side,
// z[q, s O + o] = sum over kernel rows and input channels of x[.., q, k] w[o, r, s, k], for every
// unpadded input column q; then y[w, o] = sum_s z[w + s, s O + o] is gathered, KW additions per
// pixel. 5 x 5 with 6 outputs: 30 of 32 lanes instead of 6 of 16, and no work on padding. In the
// data gradient of a strided layer the phases of the same output rows read the same z: 3 x 3 of
// stride 2 with 3 outputs takes 9 of 16 lanes at a time, not 3 or 6 of 16.
#include <algorithm>
#include <array>
#include <cstring>

#include "backends/simd/conv.hpp"
#include "backends/simd/parallel.hpp"

namespace isaribi::simd {
namespace {

constexpr std::int64_t kMinDepth = 16;  // multiply-adds per lane that pay for the gathering
constexpr std::size_t kMostSides = 8;   // one or two for each step of the stride downwards

/// Phases [begin, end): those of the same output rows, which read the same kernel rows, as many as
/// a panel has room for.
struct Side {
  std::size_t begin = 0, end = 0;
  std::int64_t kernel_rows = 0, taps = 0;  // taps of a kernel row, of all phases
  std::int64_t width = 0;                  // of a pixel of z, in whole vectors
  const Phase* rows_of = nullptr;          // one that has taps
  const float* packed = nullptr;
};

/// How many kernel rows a phase reads, each in one run of taps; -1 when these are not all that it
/// has of a row.
std::int64_t kernel_rows(const Phase& phase) {
  const auto step = static_cast<std::size_t>(phase.run_taps);
  for (std::size_t t = step; t < phase.taps.size(); t += step) {
    if (phase.taps[t].row == phase.taps[t - step].row) return -1;
  }
  return static_cast<std::int64_t>(phase.offset.size());
}

/// The phases from `begin` on that go together; no kernel rows where there is no tap, -1 where
/// this form does not apply.
Side side_of(const ConvWork& work, std::size_t begin, const Kernels& kernels) {
  Side side;
  side.begin = side.end = begin;
  for (; side.end < work.phase_count; ++side.end) {
    const Phase& phase = work.phases[side.end];
    if (phase.first_row != work.phases[begin].first_row) break;
    if (phase.taps.empty()) continue;
    const std::int64_t rows = kernel_rows(phase), taps = side.taps + phase.run_taps;
    if (side.taps > 0 && taps * work.out_c > kMaxPanelVectors * kernels.lanes) break;
    side.kernel_rows = side.taps == 0 || rows == side.kernel_rows ? rows : -1;
    side.taps = taps;
  }
  const std::int64_t lanes = kernels.lanes;
  side.width = std::max<std::int64_t>(1, (side.taps * work.out_c + lanes - 1) / lanes) * lanes;
  return side;
}

/// What a row of the phases costs, in FMAs, in this form and in the other one. Measured on an Intel
/// Xeon (family 6 model 207): FMAs of one-vector tiles take 1.2 times as long as those of two to
/// four, and gathering a pixel as long as 14 FMAs.
struct Costs {
  double wide = 0, narrow = 0;
};
Costs costs_of(const ConvWork& work, const Side& side, int lanes) {
  constexpr double kOneVector = 1.2, kGather = 14;
  const auto depth = static_cast<double>(side.kernel_rows * work.c);
  Costs costs{static_cast<double>(work.w * side.width / lanes) * depth, 0};
  for (std::size_t i = side.begin; i < side.end; ++i) {
    const Phase& phase = work.phases[i];
    const auto columns = static_cast<double>(phase.columns);
    const auto taps = static_cast<double>(phase.taps.empty() ? 0 : phase.run_taps);
    costs.wide += kGather * columns;
    costs.narrow += kOneVector * columns * taps * depth;
  }
  return costs;
}

/// Cuts the phases into sides. @return how many; 0 when this form does not apply or does not pay
std::size_t find_sides(const ConvWork& work, const Kernels& kernels,
                       std::array<Side, kMostSides>& sides) {
  if (work.groups != 1 || work.in_step_w != 1 || work.group_out > kernels.lanes) return 0;
  Costs all;
  std::size_t count = 0;
  std::int64_t most = 0;  // taps
  for (std::size_t i = 0; i < work.phase_count; ++count) {
    if (count == kMostSides) return 0;
    const Side& side = sides[count] = side_of(work, i, kernels);
    i = side.end;
    if (side.taps == 0) continue;
    if (side.kernel_rows * work.c < kMinDepth || side.width > kMaxPanelVectors * kernels.lanes)
      return 0;
    most = std::max(most, side.taps);
    const Costs costs = costs_of(work, side, kernels.lanes);
    all.wide += costs.wide;
    all.narrow += costs.narrow;
  }
  return most > 1 && all.wide < all.narrow ? count : 0;
}

/// The taps of a phase into [kernel row][k][width], tap s of output o at s O + o.
void pack(const ConvWork& work, const Phase& phase, std::int64_t width, float* packed) {
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

/// What a thread needs for the rows of a side.
struct Walk {
  float* z = nullptr;
  ConvPanel panel{};
  GatherRow gather{};
};

Walk walk_of(const ConvWork& work, const Side& side, const Kernels& kernels, float* z) {
  Walk walk;
  walk.z = z;
  walk.panel.x_pixel = work.c;
  walk.panel.run = static_cast<int>(work.c);
  walk.panel.y = z + work.lead_w * side.width;
  walk.panel.y_pixel = side.width;
  walk.panel.rows = 1;
  walk.panel.columns = work.w;
  walk.panel.vectors = static_cast<int>(side.width / kernels.lanes);
  walk.panel.channels = static_cast<int>(side.width);
  walk.gather.z_pixel = side.width;
  walk.gather.channels = static_cast<int>(work.out_c);
  walk.gather.y_pixel = work.out_step_w * work.out_c;
  walk.gather.bias = work.bias;
  walk.gather.relu = work.relu;
  return walk;
}

/// z of row p: of the kernel rows that lie inside the image.
void multiply_row(const ConvWork& work, const Side& side, const Kernels& kernels, std::int64_t n,
                  std::int64_t p, ConvPanel& a) {
  const Phase& phase = *side.rows_of;
  const std::int64_t top = p * work.in_step_h - work.lead_h;
  std::int64_t first = 0, end = side.kernel_rows;  // kernel rows whose taps lie inside
  const auto at = [&](std::int64_t r) {
    return top + phase.taps[static_cast<std::size_t>(r * phase.run_taps)].row;
  };
  while (first < end && at(first) < 0) ++first;
  while (end > first && at(end - 1) >= work.h) --end;
  a.x = work.x + (n * work.h + top) * work.w * work.c;  // rows before `first` are not read
  a.offset = phase.offset.data() + first;
  a.segments = static_cast<int>(end - first);
  a.w = side.packed + first * work.c * side.width;
  kernels.conv_panel(a);
}

/// Row p of each phase; the taps of the phases follow each other in the pixels of z.
void run_row(const ConvWork& work, const Side& side, const Kernels& kernels, std::int64_t n,
             std::int64_t p, Walk& walk) {
  if (p >= work.phases[side.begin].rows) return;
  if (side.rows_of) multiply_row(work, side, kernels, n, p, walk.panel);
  const float* z = walk.z;
  GatherRow& gather = walk.gather;
  for (std::size_t i = side.begin; i < side.end; ++i) {
    const Phase& phase = work.phases[i];
    gather.taps = phase.taps.empty() ? 0 : static_cast<int>(phase.run_taps);
    gather.z = phase.taps.empty() ? z : z + phase.taps.front().column * side.width;
    gather.columns = phase.columns;
    gather.y = work.y + ((n * work.out_h + phase.first_row + p * work.out_step_h) * work.out_w +
                         phase.first_column) *
                            work.out_c;
    kernels.gather_row(gather);
    z += gather.taps * work.out_c;
  }
}

/// Its weights, lanes beside each other, and the rows of the input where it lies.
void prepare(ConvWork& work, Side& side, float* packed) {
  std::memset(packed, 0,
              static_cast<std::size_t>(side.kernel_rows * work.c * side.width) * sizeof(float));
  side.packed = packed;
  std::int64_t lane = 0;
  for (std::size_t i = side.begin; i < side.end; ++i) {
    Phase& phase = work.phases[i];
    if (phase.taps.empty()) continue;
    pack(work, phase, side.width, packed + lane);
    lane += phase.run_taps * work.out_c;
    for (std::size_t r = 0; r < phase.offset.size(); ++r)
      phase.offset[r] =
          phase.taps[r * static_cast<std::size_t>(phase.run_taps)].row * work.w * work.c;
    side.rows_of = &phase;
  }
}

}  // namespace

bool run_wide(ConvWork& work, Context& context) {
  const Kernels& kernels = context.kernels();
  std::array<Side, kMostSides> sides;
  const std::size_t count = find_sides(work, kernels, sides);
  if (count == 0) return false;
  std::int64_t weights = 0, widest = 0, rows = 0;
  for (std::size_t i = 0; i < count; ++i) {
    weights += sides[i].kernel_rows * work.c * sides[i].width;
    widest = std::max(widest, sides[i].width);
    rows = std::max(rows, work.phases[sides[i].begin].rows);
  }
  float* packed = context.scratch.get<float>(Use::weights, weights);
  for (std::size_t i = 0; i < count; ++i) {
    prepare(work, sides[i], packed);
    packed += sides[i].kernel_rows * work.c * sides[i].width;
  }
  const std::int64_t z_elements = (work.lead_w + work.w + work.tail_w + 1) * widest;
  const std::int64_t items = work.n * rows;
  parallel_ranges(items, items * work.w * work.c * 16, 1, [&](Range range) {
    float* z = context.scratch.get<float>(Use::strip, static_cast<std::int64_t>(count) * z_elements,
                                          omp_get_thread_num());
    std::memset(z, 0, static_cast<std::size_t>(z_elements) * count * sizeof(float));
    std::array<Walk, kMostSides> walks;
    for (std::size_t i = 0; i < count; ++i)
      walks[i] = walk_of(work, sides[i], kernels, z + static_cast<std::int64_t>(i) * z_elements);
    for (std::int64_t item = range.begin; item < range.end; ++item) {
      for (std::size_t i = 0; i < count; ++i)
        run_row(work, sides[i], kernels, item / rows, item % rows, walks[i]);
    }
  });
  return true;
}

}  // namespace isaribi::simd
