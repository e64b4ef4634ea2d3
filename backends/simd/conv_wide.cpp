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
constexpr std::size_t kMostGroups = 8;  // one or two for each step of the stride downwards

/// Phases [begin, end): those of the same output rows, which read the same kernel rows, as many as
/// a panel has room for.
struct PhaseGroup {
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
PhaseGroup group_of(const ConvWork& work, std::size_t begin, const Kernels& kernels) {
  PhaseGroup group;
  group.begin = group.end = begin;
  for (; group.end < work.phase_count; ++group.end) {
    const Phase& phase = work.phases[group.end];
    if (phase.first_row != work.phases[begin].first_row) break;
    if (phase.taps.empty()) continue;
    const std::int64_t rows = kernel_rows(phase), taps = group.taps + phase.run_taps;
    if (group.taps > 0 && taps * work.out_c > kMaxPanelVectors * kernels.lanes) break;
    group.kernel_rows = group.taps == 0 || rows == group.kernel_rows ? rows : -1;
    group.taps = taps;
  }
  const std::int64_t lanes = kernels.lanes;
  group.width = std::max<std::int64_t>(1, (group.taps * work.out_c + lanes - 1) / lanes) * lanes;
  return group;
}

/// What a row of the phases costs, in FMAs, in this form and in the other one. Measured on an Intel
/// Xeon (family 6 model 207): FMAs of one-vector tiles take 1.2 times as long as those of two to
/// four, and gathering a pixel as long as 14 FMAs.
struct Costs {
  double wide = 0, narrow = 0;
};
Costs costs_of(const ConvWork& work, const PhaseGroup& group, int lanes) {
  constexpr double kOneVector = 1.2, kGather = 14;
  const auto depth = static_cast<double>(group.kernel_rows * work.c);
  Costs costs{static_cast<double>(work.w * group.width / lanes) * depth, 0};
  for (std::size_t i = group.begin; i < group.end; ++i) {
    const Phase& phase = work.phases[i];
    const auto columns = static_cast<double>(phase.columns);
    const auto taps = static_cast<double>(phase.taps.empty() ? 0 : phase.run_taps);
    costs.wide += kGather * columns;
    costs.narrow += kOneVector * columns * taps * depth;
  }
  return costs;
}

/// Groups the phases. @return how many groups; 0 when this form does not apply or does not pay
std::size_t group_phases(const ConvWork& work, const Kernels& kernels,
                         std::array<PhaseGroup, kMostGroups>& groups) {
  if (work.groups != 1 || work.in_step_w != 1 || work.group_out > kernels.lanes) return 0;
  Costs all;
  std::size_t count = 0;
  std::int64_t most = 0;  // taps
  for (std::size_t i = 0; i < work.phase_count; ++count) {
    if (count == kMostGroups) return 0;
    const PhaseGroup& group = groups[count] = group_of(work, i, kernels);
    i = group.end;
    if (group.taps == 0) continue;
    if (group.kernel_rows * work.c < kMinDepth || group.width > kMaxPanelVectors * kernels.lanes)
      return 0;
    most = std::max(most, group.taps);
    const Costs costs = costs_of(work, group, kernels.lanes);
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

/// The kernel calls for the rows of a group, and z between them.
struct RowCalls {
  float* z = nullptr;
  ConvPanel panel{};
  GatherRow gather{};
};

RowCalls calls_of(const ConvWork& work, const PhaseGroup& group, const Kernels& kernels, float* z) {
  RowCalls calls;
  calls.z = z;
  calls.panel.x_pixel = work.c;
  calls.panel.run = static_cast<int>(work.c);
  calls.panel.y = z + work.lead_w * group.width;
  calls.panel.y_pixel = group.width;
  calls.panel.rows = 1;
  calls.panel.columns = work.w;
  calls.panel.vectors = static_cast<int>(group.width / kernels.lanes);
  calls.panel.channels = static_cast<int>(group.width);
  calls.gather.z_pixel = group.width;
  calls.gather.channels = static_cast<int>(work.out_c);
  calls.gather.y_pixel = work.out_step_w * work.out_c;
  calls.gather.bias = work.bias;
  calls.gather.relu = work.relu;
  return calls;
}

/// z of row p: of the kernel rows that lie inside the image.
void multiply_row(const ConvWork& work, const PhaseGroup& group, const Kernels& kernels,
                  std::int64_t n, std::int64_t p, ConvPanel& a) {
  const Phase& phase = *group.rows_of;
  const std::int64_t top = p * work.in_step_h - work.lead_h;
  std::int64_t first = 0, end = group.kernel_rows;  // kernel rows whose taps lie inside
  const auto at = [&](std::int64_t r) {
    return top + phase.taps[static_cast<std::size_t>(r * phase.run_taps)].row;
  };
  while (first < end && at(first) < 0) ++first;
  while (end > first && at(end - 1) >= work.h) --end;
  a.x = work.x + (n * work.h + top) * work.w * work.c;  // rows before `first` are not read
  a.offset = phase.offset.data() + first;
  a.segments = static_cast<int>(end - first);
  a.w = group.packed + first * work.c * group.width;
  kernels.conv_panel(a);
}

/// Row p of each phase; the taps of the phases follow each other in the pixels of z.
void run_row(const ConvWork& work, const PhaseGroup& group, const Kernels& kernels, std::int64_t n,
             std::int64_t p, RowCalls& calls) {
  if (p >= work.phases[group.begin].rows) return;
  if (group.rows_of) multiply_row(work, group, kernels, n, p, calls.panel);
  const float* z = calls.z;
  GatherRow& gather = calls.gather;
  for (std::size_t i = group.begin; i < group.end; ++i) {
    const Phase& phase = work.phases[i];
    gather.taps = phase.taps.empty() ? 0 : static_cast<int>(phase.run_taps);
    gather.z = phase.taps.empty() ? z : z + phase.taps.front().column * group.width;
    gather.columns = phase.columns;
    gather.y = work.y + ((n * work.out_h + phase.first_row + p * work.out_step_h) * work.out_w +
                         phase.first_column) *
                            work.out_c;
    kernels.gather_row(gather);
    z += gather.taps * work.out_c;
  }
}

/// Packs the weights of its phases side by side; the input is read where it lies.
void prepare(ConvWork& work, PhaseGroup& group, float* packed) {
  std::memset(packed, 0,
              static_cast<std::size_t>(group.kernel_rows * work.c * group.width) * sizeof(float));
  group.packed = packed;
  std::int64_t lane = 0;
  for (std::size_t i = group.begin; i < group.end; ++i) {
    Phase& phase = work.phases[i];
    if (phase.taps.empty()) continue;
    pack(work, phase, group.width, packed + lane);
    lane += phase.run_taps * work.out_c;
    for (std::size_t r = 0; r < phase.offset.size(); ++r)
      phase.offset[r] =
          phase.taps[r * static_cast<std::size_t>(phase.run_taps)].row * work.w * work.c;
    group.rows_of = &phase;
  }
}

}  // namespace

bool run_wide(ConvWork& work, Context& context) {
  const Kernels& kernels = context.kernels();
  std::array<PhaseGroup, kMostGroups> groups;
  const std::size_t count = group_phases(work, kernels, groups);
  if (count == 0) return false;
  std::int64_t weights = 0, widest = 0, rows = 0;
  for (std::size_t i = 0; i < count; ++i) {
    weights += groups[i].kernel_rows * work.c * groups[i].width;
    widest = std::max(widest, groups[i].width);
    rows = std::max(rows, work.phases[groups[i].begin].rows);
  }
  float* packed = context.scratch.get<float>(Use::weights, weights);
  for (std::size_t i = 0; i < count; ++i) {
    prepare(work, groups[i], packed);
    packed += groups[i].kernel_rows * work.c * groups[i].width;
  }
  const std::int64_t z_elements = (work.lead_w + work.w + work.tail_w + 1) * widest;
  const std::int64_t items = work.n * rows;
  parallel_ranges(items, items * work.w * work.c * 16, 1, [&](Range range) {
    float* z = context.scratch.get<float>(Use::strip, static_cast<std::int64_t>(count) * z_elements,
                                          omp_get_thread_num());
    std::memset(z, 0, static_cast<std::size_t>(z_elements) * count * sizeof(float));
    std::array<RowCalls, kMostGroups> calls;
    for (std::size_t i = 0; i < count; ++i)
      calls[i] = calls_of(work, groups[i], kernels, z + static_cast<std::int64_t>(i) * z_elements);
    for (std::int64_t item = range.begin; item < range.end; ++item) {
      for (std::size_t i = 0; i < count; ++i)
        run_row(work, groups[i], kernels, item / rows, item % rows, calls[i]);
    }
  });
  return true;
}

}  // namespace isaribi::simd
