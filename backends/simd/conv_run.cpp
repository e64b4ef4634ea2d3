// SPDX-License-Identifier: MIT
// The driver of the convolution panels, forward and data gradient alike: weights packed into
// panels of output channels once per call, the input cut into strips of rows that stay in L2
// (copied with zero borders where there is padding, about one copied element per 9 C FMAs of a 3x3
// convolution), strips shared statically among threads.
#include <algorithm>
#include <cstring>

#include "backends/simd/conv.hpp"
#include "backends/simd/parallel.hpp"

namespace isaribi::simd {
namespace {

constexpr std::int64_t kStripElements = 32 * 1024;  // 128 KiB of input per strip

/// Panels of one group: how its output channels are cut.
struct Panels {
  int lanes = 0;
  int vectors = 1;         // of a full panel
  std::int64_t count = 0;  // panels per group
  std::int64_t channels = 0;

  std::int64_t width() const { return static_cast<std::int64_t>(vectors) * lanes; }
  int valid(std::int64_t panel) const {
    return static_cast<int>(std::min(width(), channels - panel * width()));
  }
  int used(std::int64_t panel) const { return (valid(panel) + lanes - 1) / lanes; }
};

/// The panel width with the least work: FMAs issued, plus the cost of tiles too small to hide the
/// FMA latency.
Panels choose_panels(const Kernels& k, std::int64_t channels, std::int64_t columns) {
  Panels best{k.lanes, 1, 0, channels};
  double best_cost = 1e300;
  const std::int64_t all = (channels + k.lanes - 1) / k.lanes;
  for (int v = 1; v <= kMaxPanelVectors; ++v) {
    const std::int64_t tiles = (columns + k.tile_rows[v] - 1) / k.tile_rows[v];
    const double height = static_cast<double>(columns) / static_cast<double>(tiles);
    const auto last = static_cast<double>(all % v == 0 ? v : all % v);
    const auto full = static_cast<double>((all - 1) / v);
    // Cost per k-step of a tile of m x u: FMAs at 2 per cycle and at least the latency bound (8
    // in flight), against m broadcasts + u loads at 2 per cycle.
    const auto step = [height](double u) {
      return std::max({height * u, 8.0, 0.9 * (height + 2 * u)});
    };
    const double cost = static_cast<double>(tiles) * (full * step(v) + step(last));
    if (cost < best_cost * 0.98) {
      best_cost = cost;
      best.vectors = v;
    }
  }
  best.count = (all + best.vectors - 1) / best.vectors;
  return best;
}

/// Merges taps that are neighbours in memory into runs of equal length, and turns them into
/// offsets.
void find_runs(const ConvWork& work, Phase& phase) {
  std::sort(phase.taps.begin(), phase.taps.end(), [](const Tap& a, const Tap& b) {
    return a.row != b.row ? a.row < b.row : a.column < b.column;
  });
  const auto& taps = phase.taps;
  std::size_t run = taps.empty() || work.groups > 1 ? 1 : 0;
  for (std::size_t begin = 0; run != 1 && begin < taps.size();) {
    std::size_t end = begin + 1;
    while (end < taps.size() && taps[end].row == taps[begin].row &&
           taps[end].column == taps[end - 1].column + 1) {
      ++end;
    }
    run = run == 0 || run == end - begin ? end - begin : 1;
    begin = end;
  }
  phase.run_taps = static_cast<std::int64_t>(run);
  phase.offset.clear();
  for (std::size_t t = 0; t < taps.size(); t += run) {
    phase.offset.push_back((taps[t].row * work.padded_w() + taps[t].column) * work.c);
  }
}

/// Packs one panel: [tap][k][vectors * lanes], zeros beyond the valid channels.
void pack_panel(const ConvWork& work, const Phase& phase, std::int64_t group, std::int64_t first,
                int valid, int width, float* to) {
  for (const Tap& tap : phase.taps) {
    const float* from =
        work.weights + group * work.w_group + first * work.w_out + tap.index * work.w_tap;
    for (std::int64_t k = 0; k < work.group_in; ++k, to += width) {
      const float* column = from + k * work.w_in;
      int o = 0;
      for (; o < valid; ++o) to[o] = column[o * work.w_out];
      for (; o < width; ++o) to[o] = 0.0f;
    }
  }
}

const float* pack_weights(ConvWork& work, const Panels& panels, Scratch& scratch) {
  std::int64_t total = 0;
  for (std::size_t i = 0; i < work.phase_count; ++i) {
    Phase& phase = work.phases[i];
    phase.weights = total;
    total += static_cast<std::int64_t>(phase.taps.size()) * work.group_in * panels.count *
             panels.width() * work.groups;
  }
  float* packed = scratch.get<float>(Use::weights, total);
  for (std::size_t i = 0; i < work.phase_count; ++i) {
    const Phase& phase = work.phases[i];
    const std::int64_t rows = static_cast<std::int64_t>(phase.taps.size()) * work.group_in;
    parallel_ranges(work.groups * panels.count, total, 1, [&](Range r) {
      for (std::int64_t j = r.begin; j < r.end; ++j) {
        const std::int64_t panel = j % panels.count;
        pack_panel(work, phase, j / panels.count, panel * panels.width(), panels.valid(panel),
                   panels.used(panel) * panels.lanes,
                   packed + phase.weights + j * rows * panels.width());
      }
    });
  }
  return packed;
}

const float* pad_bias(const ConvWork& work, const Panels& panels, Scratch& scratch) {
  if (!work.bias) return nullptr;
  const std::int64_t per_group = panels.count * panels.width();
  float* bias = scratch.get<float>(Use::bias, per_group * work.groups);
  for (std::int64_t g = 0; g < work.groups; ++g) {
    for (std::int64_t o = 0; o < per_group; ++o) {
      bias[g * per_group + o] = o < work.group_out ? work.bias[g * work.group_out + o] : 0.0f;
    }
  }
  return bias;
}

/// Everything a strip needs that does not change between strips.
struct Prepared {
  const ConvWork& work;
  const Kernels& kernels;
  Panels panels;
  const float* weights;
  const float* bias;
  std::int64_t strip_rows;  // rows of a phase per strip
  std::int64_t in_rows;     // padded input rows per strip
};

/// Rows [first, first + strip_rows) of every phase of image n.
void run_strip(const Prepared& p, std::int64_t n, std::int64_t first, float* buffer) {
  const ConvWork& work = p.work;
  const float* image = work.x + n * work.h * work.w * work.c;
  const float* strip = image + first * work.in_step_h * work.w * work.c;
  if (work.padded()) {
    const std::int64_t from = first * work.in_step_h;
    pad_rows(work, image, from, std::min(p.in_rows, work.lead_h + work.h + work.tail_h - from),
             buffer);
    strip = buffer;
  }
  for (std::size_t i = 0; i < work.phase_count; ++i) {
    const Phase& phase = work.phases[i];
    const std::int64_t rows = std::min(p.strip_rows, phase.rows - first);
    if (rows <= 0) continue;
    ConvPanel a{};
    a.x_row = work.in_step_h * work.padded_w() * work.c;
    a.x_pixel = work.in_step_w * work.c;
    a.offset = phase.offset.data();
    a.segments = static_cast<int>(phase.offset.size());
    a.run = static_cast<int>(phase.run_taps * work.group_in);
    a.y_row = work.out_step_h * work.out_w * work.out_c;
    a.y_pixel = work.out_step_w * work.out_c;
    a.rows = rows;
    a.columns = phase.columns;
    a.relu = work.relu;
    float* y = work.y + ((n * work.out_h + phase.first_row + first * work.out_step_h) * work.out_w +
                         phase.first_column) *
                            work.out_c;
    const std::int64_t k = static_cast<std::int64_t>(phase.taps.size()) * work.group_in;
    for (std::int64_t g = 0; g < work.groups; ++g) {
      for (std::int64_t j = 0; j < p.panels.count; ++j) {
        const std::int64_t index = g * p.panels.count + j;
        a.x = strip + g * work.group_in;
        a.w = p.weights + phase.weights + index * k * p.panels.width();
        a.bias = p.bias ? p.bias + index * p.panels.width() : nullptr;
        a.y = y + g * work.group_out + j * p.panels.width();
        a.vectors = p.panels.used(j);
        a.channels = p.panels.valid(j);
        p.kernels.conv_panel(a);
      }
    }
  }
}

/// Depthwise: weights [tap][c], one output row at a time.
void run_depthwise_strip(const Prepared& p, std::int64_t n, std::int64_t first, float* buffer) {
  const ConvWork& work = p.work;
  const float* image = work.x + n * work.h * work.w * work.c;
  const float* strip = image + first * work.in_step_h * work.w * work.c;
  if (work.padded()) {
    const std::int64_t from = first * work.in_step_h;
    pad_rows(work, image, from, std::min(p.in_rows, work.lead_h + work.h + work.tail_h - from),
             buffer);
    strip = buffer;
  }
  for (std::size_t i = 0; i < work.phase_count; ++i) {
    const Phase& phase = work.phases[i];
    ConvPanel a{};
    a.x_pixel = work.in_step_w * work.c;
    a.offset = phase.offset.data();
    a.segments = static_cast<int>(phase.offset.size());
    a.run = static_cast<int>(work.c);
    a.w = p.weights + phase.weights;
    a.y_pixel = work.out_step_w * work.out_c;
    a.columns = phase.columns;
    a.bias = work.bias;
    a.channels = static_cast<int>(work.c);
    a.relu = work.relu;
    for (std::int64_t row = first; row < std::min(first + p.strip_rows, phase.rows); ++row) {
      a.x = strip + (row - first) * work.in_step_h * work.padded_w() * work.c;
      a.y = work.y + ((n * work.out_h + phase.first_row + row * work.out_step_h) * work.out_w +
                      phase.first_column) *
                         work.out_c;
      p.kernels.depthwise_row(a);
    }
  }
}

const float* pack_depthwise(ConvWork& work, Scratch& scratch) {
  std::int64_t total = 0;
  for (std::size_t i = 0; i < work.phase_count; ++i) {
    work.phases[i].weights = total;
    total += static_cast<std::int64_t>(work.phases[i].taps.size()) * work.c;
  }
  float* packed = scratch.get<float>(Use::weights, total);
  float* to = packed;
  for (std::size_t i = 0; i < work.phase_count; ++i) {
    for (const Tap& tap : work.phases[i].taps) {
      for (std::int64_t c = 0; c < work.c; ++c) {
        *to++ = work.weights[c * work.w_group + tap.index * work.w_tap];
      }
    }
  }
  return packed;
}

}  // namespace

Phase& ConvWork::add_phase() {
  if (phase_count == phases.size()) phases.emplace_back();
  Phase& phase = phases[phase_count++];
  phase.taps.clear();
  return phase;
}

void pad_rows(const ConvWork& work, const float* image, std::int64_t row, std::int64_t rows,
              float* to) {
  const auto zero = [](float* at, std::int64_t count) {
    std::memset(at, 0, static_cast<std::size_t>(count) * sizeof(float));
  };
  const std::int64_t width = work.padded_w() * work.c;
  const std::int64_t lead = work.lead_w * work.c, inner = work.w * work.c;
  for (std::int64_t r = row; r < row + rows; ++r, to += width) {
    const std::int64_t h = r - work.lead_h;
    if (h < 0 || h >= work.h) {
      zero(to, width);
      continue;
    }
    zero(to, lead);
    std::memcpy(to + lead, image + h * inner, static_cast<std::size_t>(inner) * sizeof(float));
    zero(to + lead + inner, width - lead - inner);
  }
}

void run_conv(ConvWork& work, Context& context) {
  Scratch& scratch = context.ready();
  const Kernels& kernels = context.kernels();
  std::int64_t rows = 0, columns = 0, reach = 0;
  for (std::size_t i = 0; i < work.phase_count; ++i) {
    Phase& phase = work.phases[i];
    find_runs(work, phase);
    rows = std::max(rows, phase.rows);
    columns = std::max(columns, phase.columns);
    for (const Tap& tap : phase.taps) reach = std::max(reach, tap.row);
  }
  if (work.n == 0 || rows == 0 || columns == 0) return;
  if (run_wide(work, context)) return;
  const bool depthwise = work.groups == work.c && work.group_out == 1 && work.c > 1;
  Prepared p{work, kernels, choose_panels(kernels, work.group_out, columns), nullptr, nullptr,
             0,    0};
  p.weights = depthwise ? pack_depthwise(work, scratch) : pack_weights(work, p.panels, scratch);
  p.bias = depthwise ? nullptr : pad_bias(work, p.panels, scratch);

  const std::int64_t threads = omp_get_max_threads();
  const std::int64_t row_elements = work.padded_w() * work.c * work.in_step_h;
  std::int64_t strips = (rows * row_elements + kStripElements - 1) / kStripElements;
  if (work.n * strips < 4 * threads) strips = (4 * threads + work.n - 1) / work.n;
  strips = std::clamp<std::int64_t>(strips, 1, rows);
  p.strip_rows = (rows + strips - 1) / strips;
  strips = (rows + p.strip_rows - 1) / p.strip_rows;
  p.in_rows = (p.strip_rows - 1) * work.in_step_h + reach + 1;
  const std::int64_t buffer = work.padded() ? p.in_rows * work.padded_w() * work.c : 0;

  const std::int64_t items = work.n * strips;
  parallel_ranges(items, items * p.strip_rows * row_elements * 16, 1, [&](Range r) {
    float* strip = scratch.get<float>(Use::strip, buffer, omp_get_thread_num());
    for (std::int64_t item = r.begin; item < r.end; ++item) {
      const std::int64_t n = item / strips, first = item % strips * p.strip_rows;
      depthwise ? run_depthwise_strip(p, n, first, strip) : run_strip(p, n, first, strip);
    }
  });
}

}  // namespace isaribi::simd
