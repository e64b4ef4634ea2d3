// SPDX-License-Identifier: MIT
// The driver of the convolution panels, forward and data gradient alike: weights packed into
// panels of output channels once per call, the input cut into strips of rows that stay in L2,
// strips shared statically among threads. Taps of 8 channels and more leave out the pixel at the
// end of a row that they do not reach. Where that is all that would read padding, as with 3x3
// kernels, the input is read where it lies, else it is copied with zero borders, which takes 10 %
// of the time of 16 channels and 1 % of 256.
#include <algorithm>
#include <cstring>
#include <utility>

#include "backends/simd/conv.hpp"
#include "backends/simd/parallel.hpp"

namespace isaribi::simd {
namespace {

// Sums are cut into chunks of so many steps, whose weights stay in L2 while a strip passes: the
// same on every machine, since it decides the bits.
constexpr std::int64_t kChunk = 1152;
// Taps of fewer channels are worth more as one run than without the products of padding and the
// copy of the input.
constexpr std::int64_t kEdgeChannels = 8, kManyOutputs = 16;

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

/// What a step of k costs a panel of `vectors` over a row of pixels, in FMAs of which two begin in
/// a cycle: those of its tiles, which are as many as the latency of an FMA allows (and a little
/// more, as all else has latencies, too), and loads, two in a cycle. Beside FMAs of 256 bits a load
/// costs an eighth of one, beside those of 512 bits nothing (measured on an Intel Xeon of family 6,
/// model 207: 12 and 24 FMAs with 0 to 20 loads from L1).
double step_cost(const Kernels& k, int vectors, std::int64_t columns) {
  constexpr double kInFlight = 9.5;
  const double load = k.lanes == 8 ? 0.13 : 0.0;
  const std::int64_t most = k.tile_rows[vectors];
  const std::int64_t tiles = std::max<std::int64_t>(1, (columns + most - 1) / most);
  const auto tile = [&](std::int64_t height) {
    const auto h = static_cast<double>(height), v = static_cast<double>(vectors);
    return std::max({h * v + load * (h + v), kInFlight, 0.9 * (h + 2 * v)});
  };
  const std::int64_t height = columns / tiles, larger = columns % tiles;
  return static_cast<double>(larger) * tile(height + 1) +
         static_cast<double>(tiles - larger) * tile(height);
}

/// The panel width with the least work.
Panels choose_panels(const Kernels& k, std::int64_t channels, std::int64_t columns) {
  Panels best{k.lanes, 1, 0, channels};
  double best_cost = 1e300;
  const std::int64_t all = (channels + k.lanes - 1) / k.lanes;
  for (int v = 1; v <= kMaxPanelVectors; ++v) {
    const auto last = static_cast<int>(all % v == 0 ? v : all % v);
    const double cost =
        static_cast<double>((all - 1) / v) * step_cost(k, v, columns) + step_cost(k, last, columns);
    if (cost < best_cost * 0.995) {
      best_cost = cost;
      best.vectors = v;
    }
  }
  best.count = (all + best.vectors - 1) / best.vectors;
  return best;
}

/// Merges taps that are neighbours in memory into runs of equal length.
std::int64_t merged_taps(const ConvWork& work, const Phase& phase) {
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
  return static_cast<std::int64_t>(run);
}

/// Whether taps know the pixels at the ends of a row which they do not reach.
bool knows_ends(const ConvWork& work) {
  return work.group_out >= kManyOutputs && work.group_in >= kEdgeChannels &&
         work.lead_w + work.tail_w + work.apart > 0;
}

/// Whether that is all that would read the padding: of each tap no more than one pixel at either
/// end. (Rows that lie outside are never read.)
bool reads_no_padding(const ConvWork& work) {
  if (!knows_ends(work) || work.apart > 0) return false;
  for (std::size_t i = 0; i < work.phase_count; ++i) {
    const Phase& phase = work.phases[i];
    for (const Tap& tap : phase.taps) {
      const std::int64_t step = work.in_step_w, begin = work.lead_w, end = work.lead_w + work.w;
      const std::int64_t last = tap.column + (phase.columns - 1) * step;
      if (tap.column + step < begin || last - step >= end) return false;
      if (tap.column < begin && last >= end) return false;  // what no tile leaves out at once
    }
  }
  return true;
}

/// Turns the taps into segments: runs of taps, or where there are many channels single taps that
/// know the pixels at the ends of a row which they do not reach; in parts of at most kChunk.
/// `whole`: neither, as conv_wide.cpp wants it.
void find_runs(const ConvWork& work, Phase& phase, bool whole) {
  std::sort(phase.taps.begin(), phase.taps.end(), [](const Tap& a, const Tap& b) {
    return a.row != b.row ? a.row < b.row : a.column < b.column;
  });
  const bool many = !whole && work.group_out >= kManyOutputs;
  const bool edges = many && knows_ends(work);
  phase.run_taps = edges ? 1 : merged_taps(work, phase);
  const std::int64_t length = phase.run_taps * work.group_in;
  std::int64_t parts = many ? (length + kChunk - 1) / kChunk : 1;
  while (parts > 1 && length % parts != 0) ++parts;
  parts = std::max<std::int64_t>(1, parts);
  phase.run = length / parts;
  phase.offset.clear();
  phase.tap_row.clear();
  phase.edge.clear();
  for (std::size_t t = 0; t < phase.taps.size(); t += static_cast<std::size_t>(phase.run_taps)) {
    const Tap& tap = phase.taps[t];
    const std::int64_t last = tap.column + (phase.columns - 1) * work.in_step_w;
    const int edge = (tap.column < work.lead_w ? kEdgeFirst : 0) |
                     (last >= work.lead_w + work.w ? kEdgeLast : 0);
    for (std::int64_t part = 0; part < parts; ++part) {
      phase.offset.push_back(tap.row * work.row() + tap.column * work.pixel() + part * phase.run);
      phase.tap_row.push_back(tap.row);
      if (edges) phase.edge.push_back(static_cast<unsigned char>(edge));
    }
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
  std::int64_t images;      // whole images per strip, where rows are few
};

/// Rows [first, first + strip_rows) of every phase of images [n, n + images).
struct Strip {
  const float* x;
  std::int64_t x_image, n, images, first;
  const float *ahead, *ahead_end;  // of the input: what the strip after it reads
};

/// Input rows of the strip that comes next, behind those of this one.
void set_ahead(const Prepared& p, Strip& strip) {
  const ConvWork& work = p.work;
  std::int64_t begin = (strip.n + strip.images) * work.h, rows = p.images * work.h;
  if (p.images == 1) {
    const std::int64_t read = strip.first * work.in_step_h + p.in_rows - work.lead_h;
    begin = strip.n * work.h + std::min(work.h, read);
    rows = p.strip_rows * work.in_step_h;
  }
  const std::int64_t row = work.w * work.c, end = work.n * work.h;
  strip.ahead = work.x + std::min(end, begin) * row;
  strip.ahead_end = work.x + std::min(end, begin + rows) * row;
}

/// The strip's input, with its padding.
Strip load_strip(const Prepared& p, std::int64_t n, std::int64_t first, float* buffer) {
  const ConvWork& work = p.work;
  const std::int64_t image = work.h * work.w * work.c, from = first * work.in_step_h;
  Strip strip{work.x + n * image + from * work.w * work.c,
              image,
              n,
              std::min(p.images, work.n - n),
              first,
              nullptr,
              nullptr};
  set_ahead(p, strip);
  if (work.in_place) strip.x -= (work.lead_h * work.w + work.lead_w) * work.c;
  if (!work.padded()) return strip;
  const std::int64_t rows = std::min(p.in_rows, work.lead_h + work.h + work.tail_h - from);
  strip.x = buffer;
  strip.x_image = p.in_rows * work.row();
  for (std::int64_t i = 0; i < strip.images; ++i)
    pad_rows(work, work.x + (n + i) * image, from, rows, work.c, work.pixel(),
             buffer + i * strip.x_image);
  return strip;
}

/// Segments [range) of those in `chunk` whose taps meet output row `row` inside the image.
Range inside(const ConvWork& work, const Phase& phase, Range chunk, std::int64_t row) {
  const auto at = [&](std::int64_t t) {
    return phase.tap_row[static_cast<std::size_t>(t)] + row * work.in_step_h - work.lead_h;
  };
  while (chunk.begin < chunk.end && at(chunk.begin) < 0) ++chunk.begin;
  while (chunk.end > chunk.begin && at(chunk.end - 1) >= work.h) --chunk.end;
  return chunk;
}

/// One panel of output channels over the rows of one image, each with the segments it meets.
void run_panel(const Prepared& p, const Phase& phase, Range chunk, std::int64_t first,
               ConvPanel& panel) {
  const ConvWork& work = p.work;
  const std::int64_t end = std::min(first + p.strip_rows, phase.rows);
  const std::int64_t step = phase.run * panel.vectors * p.kernels.lanes;
  for (std::int64_t row = first; row < end;) {
    const Range range = inside(work, phase, chunk, row);
    std::int64_t next = row + 1;
    while (next < end) {
      const Range other = inside(work, phase, chunk, next);
      if (other.begin != range.begin || other.end != range.end) break;
      ++next;
    }
    ConvPanel a = panel;
    a.x += (row - first) * a.x_row;
    a.y += (row - first) * a.y_row;
    a.w += range.begin * step;
    a.offset += range.begin;
    if (a.edge) a.edge += range.begin;
    a.segments = static_cast<int>(range.end - range.begin);
    a.rows = next - row;
    panel.ahead = a.ahead = p.kernels.conv_panel(a);
    row = next;
  }
}

void run_phase(const Prepared& p, const Phase& phase, Strip& strip) {
  const ConvWork& work = p.work;
  const auto segments = static_cast<std::int64_t>(phase.offset.size());
  const std::int64_t k = segments * phase.run;
  const std::int64_t together =
      std::max<std::int64_t>(1, kChunk / std::max<std::int64_t>(1, phase.run));
  const std::int64_t y_image = work.out_h * work.out_w * work.out_c;
  float* y = work.y + strip.n * y_image +
             ((phase.first_row + strip.first * work.out_step_h) * work.out_w + phase.first_column) *
                 work.out_c;
  ConvPanel a{};
  a.x_row = work.in_step_h * work.row();
  a.x_pixel = work.in_step_w * work.pixel();
  a.offset = phase.offset.data();
  a.edge = phase.edge.empty() ? nullptr : phase.edge.data();
  a.run = static_cast<int>(phase.run);
  a.y_row = work.out_step_h * work.out_w * work.out_c;
  a.y_pixel = work.out_step_w * work.out_c;
  a.columns = phase.columns;
  a.ahead = strip.ahead;
  a.ahead_end = strip.ahead_end;
  Range chunk{0, 0};
  do {  // once without any tap, too
    chunk = {chunk.end, std::min(segments, chunk.end + together)};
    const bool last = chunk.end == segments;
    a.accumulate = chunk.begin > 0;
    a.relu = work.relu && last;
    for (std::int64_t index = 0; index < work.groups * p.panels.count; ++index) {
      const std::int64_t g = index / p.panels.count, j = index % p.panels.count;
      a.w = p.weights + phase.weights + index * k * p.panels.width();
      a.bias = p.bias && last ? p.bias + index * p.panels.width() : nullptr;
      a.vectors = p.panels.used(j);
      a.channels = p.panels.valid(j);
      for (std::int64_t i = 0; i < strip.images; ++i) {
        a.x = strip.x + i * strip.x_image + g * work.group_in;
        a.y = y + i * y_image + g * work.group_out + j * p.panels.width();
        run_panel(p, phase, chunk, strip.first, a);
      }
    }
  } while (chunk.end < segments);
  strip.ahead = a.ahead;
}

}  // namespace

ConvWork& ConvWork::start() {
  std::vector<Phase> kept = std::move(phases);
  *this = {};
  phases = std::move(kept);
  return *this;
}

Phase& ConvWork::add_phase() {
  if (phase_count == phases.size()) phases.emplace_back();
  Phase& phase = phases[phase_count++];
  phase.taps.clear();
  return phase;
}

void pad_rows(const ConvWork& work, const float* image, std::int64_t row, std::int64_t rows,
              std::int64_t channels, std::int64_t pixel, float* to) {
  const auto zero = [](float* at, std::int64_t count) {
    std::memset(at, 0, static_cast<std::size_t>(count) * sizeof(float));
  };
  const auto copy = [](float* at, const float* from, std::int64_t count) {
    std::memcpy(at, from, static_cast<std::size_t>(count) * sizeof(float));
  };
  const std::int64_t width = work.padded_w() * pixel, lead = work.lead_w * pixel,
                     inner = work.w * pixel;
  for (std::int64_t r = row; r < row + rows; ++r, to += width) {
    const std::int64_t h = r - work.lead_h;
    if (h < 0 || h >= work.h) {
      zero(to, width);
      continue;
    }
    zero(to, lead);
    const float* from = image + h * work.w * work.c;
    if (channels == work.c && pixel == work.c) {
      copy(to + lead, from, inner);
    } else {
      for (std::int64_t w = 0; w < work.w; ++w)
        copy(to + lead + w * pixel, from + w * work.c, channels);
    }
    zero(to + lead + inner, width - lead - inner);
  }
}

/// Pixels of a tile a multiple of 1 KiB apart share a few sets of an L1: their copy keeps a cache
/// line between them, where single taps are read and copying costs little against the products.
std::int64_t space_between_pixels(const ConvWork& work) {
  constexpr std::int64_t kLine = 16, kSame = 256, kEnoughInputs = 32, kEnoughOutputs = 64;
  const bool crowded = work.c * work.in_step_w % kSame == 0 && work.group_in >= kEnoughInputs &&
                       work.group_out >= kEnoughOutputs;
  return crowded ? kLine : 0;
}

void run_conv(ConvWork& work, Context& context) {
  Scratch& scratch = context.ready();
  const Kernels& kernels = context.kernels();
  work.apart = space_between_pixels(work);
  work.in_place = reads_no_padding(work);
  const bool one_vector = work.group_out <= kernels.lanes;
  std::int64_t rows = 0, columns = 0, reach = 0;
  for (std::size_t i = 0; i < work.phase_count; ++i) {
    Phase& phase = work.phases[i];
    find_runs(work, phase, one_vector);
    rows = std::max(rows, phase.rows);
    columns = std::max(columns, phase.columns);
    for (const Tap& tap : phase.taps) reach = std::max(reach, tap.row);
  }
  if (work.n == 0 || rows == 0 || columns == 0) return;
  if (run_depthwise(work, context) || run_wide(work, context)) return;
  for (std::size_t i = 0; one_vector && i < work.phase_count; ++i)
    find_runs(work, work.phases[i], false);
  Prepared p{work, kernels, choose_panels(kernels, work.group_out, columns), nullptr, nullptr, 0,
             0,    1};
  p.weights = pack_weights(work, p.panels, scratch);
  p.bias = pad_bias(work, p.panels, scratch);

  const std::int64_t threads = omp_get_max_threads();
  const std::int64_t row_elements = work.row() * work.in_step_h;
  const std::int64_t fit = std::clamp<std::int64_t>(caches().l2 / 16, 16 << 10, 128 << 10);
  std::int64_t strips = (rows * row_elements + fit - 1) / fit;
  if (work.n * strips < 4 * threads) strips = (4 * threads + work.n - 1) / work.n;
  strips = std::clamp<std::int64_t>(strips, 1, rows);
  p.strip_rows = (rows + strips - 1) / strips;
  strips = (rows + p.strip_rows - 1) / p.strip_rows;
  p.in_rows = (p.strip_rows - 1) * work.in_step_h + reach + 1;
  if (strips == 1)
    p.images = std::clamp<std::int64_t>(
        std::min(fit / (rows * row_elements), work.n / (4 * threads)), 1, work.n);
  const std::int64_t buffer = work.padded() ? p.images * p.in_rows * work.row() : 0;

  const std::int64_t groups = (work.n + p.images - 1) / p.images, items = groups * strips;
  const std::int64_t touched = work.n * rows * row_elements * 16;
  parallel_ranges(items, touched, 1, [&](Range r) {
    float* memory = scratch.get<float>(Use::strip, buffer, omp_get_thread_num());
    for (std::int64_t item = r.begin; item < r.end; ++item) {
      Strip strip = load_strip(p, item / strips * p.images, item % strips * p.strip_rows, memory);
      for (std::size_t i = 0; i < work.phase_count; ++i) {
        if (strip.first < work.phases[i].rows) run_phase(p, work.phases[i], strip);
      }
    }
  });
}

}  // namespace isaribi::simd
