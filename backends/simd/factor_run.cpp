// SPDX-License-Identifier: MIT
// Blocks of kSampleBlock samples are dealt out to lanes (factor_run.hpp), each with sums of its
// own; how many there are depends on shapes only. A thread takes a lane: it copies some samples
// with their padding, as many as stay in its cache, and walks all register tiles over them. Where
// there are more threads than lanes, all threads copy a round of samples, then each takes tiles. A
// tile sums the cells of one block in f32, adds up the cells of each window, and adds the windows
// to the factor in f64. Which thread does it changes nothing: a tile belongs to one thread at a
// time, and its blocks follow each other.
#include "backends/simd/factor_run.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

#include "backends/simd/factor_pairs.hpp"
#include "backends/simd/parallel.hpp"

namespace isaribi::simd {
namespace {

constexpr std::int64_t kUnitBytes = std::int64_t{1} << 20;    // that one tile reads in a row
constexpr std::int64_t kRoundBytes = std::int64_t{16} << 20;  // that all tiles of a round read
constexpr std::int64_t kSlack = 64;     // elements that whole vectors may read behind an image
constexpr std::int64_t kWorkUnits = 8;  // tiles x lanes to aim at
// Threads that copy images for each other wait for lines of each other's caches.
constexpr std::int64_t kLeastLanes = 2;  // of images that are copied
constexpr std::int64_t kRoundUnits = 2;  // per thread, where tiles are dealt out

/// Samples [from, to) of each of some blocks, which are of different lanes or whole.
struct Round {
  std::int64_t first_block, blocks, from, to;
  bool starts() const { return from == 0; }
  bool ends() const { return to == api::kSampleBlock; }
};

/// How the batch is cut. Lanes and samples of a round, which decide where sums are rounded, are
/// functions of shapes only.
struct Cut {
  std::int64_t blocks, lanes;  // as many of each lane
  std::int64_t round_samples;  // of each block
  std::int64_t round_blocks;   // where tiles are dealt out
  Blocks dealt() const { return {lanes, blocks / lanes}; }
  bool parts() const { return round_samples < api::kSampleBlock; }
};

Cut cut_batch(const FactorPlan& p) {
  const std::int64_t image_bytes =
      std::max<std::int64_t>(1, p.image * static_cast<std::int64_t>(sizeof(float)));
  Cut c{};
  c.blocks = std::max<std::int64_t>(1, (p.n + api::kSampleBlock - 1) / api::kSampleBlock);
  const std::int64_t read = image_bytes / p.planes() * std::min<std::int64_t>(2, p.planes());
  const std::int64_t fit = std::clamp<std::int64_t>(kUnitBytes / read, 1, api::kSampleBlock);
  const std::int64_t rounds = (api::kSampleBlock + fit - 1) / fit;
  c.round_samples = (api::kSampleBlock + rounds - 1) / rounds;
  const std::int64_t units =
      std::max<std::int64_t>(1, static_cast<std::int64_t>(p.bundles.size()) * p.groups);
  const std::int64_t wanted =
      std::max((kWorkUnits + units - 1) / units, p.direct ? 1 : kLeastLanes);
  const std::uint64_t even = std::bit_ceil(static_cast<std::uint64_t>(wanted));
  c.lanes = std::min({static_cast<std::int64_t>(even), c.blocks, kMostLanes});
  c.blocks = (c.blocks + c.lanes - 1) / c.lanes * c.lanes;
  const std::int64_t block_bytes = image_bytes * c.round_samples;
  const std::int64_t least = (kRoundUnits * omp_get_max_threads() + units - 1) / units;
  c.round_blocks = std::min({least, c.lanes, std::max<std::int64_t>(1, kRoundBytes / block_bytes)});
  if (!c.parts()) c.round_blocks = std::max(c.round_blocks, kUnitBytes / block_bytes);
  return c;
}

/// A sample, group by group and plane by plane, between its padding, which is there.
void copy_image(const FactorPlan& p, const Kernels& kernels, const float* x, float* to) {
  const std::int64_t rows = std::min(p.h, p.rows - p.top);
  const std::int64_t columns = std::min(p.w, p.columns - p.left);
  for (std::int64_t q = 0; q < p.groups * p.planes(); ++q) {
    float* plane = to + q * p.all_rows() * p.columns * p.width;
    for (std::int64_t y = 0; y < rows && columns > 0; ++y) {
      float* row = plane + ((y + p.top) * p.columns + p.left) * p.width;
      const float* source = x + y * p.w * p.channels + q * p.width;
      if (p.width == p.channels) {
        std::memcpy(row, source, static_cast<std::size_t>(columns * p.width) * sizeof(float));
        continue;
      }
      for (std::int64_t c = 0; c < columns; ++c)
        std::copy_n(source + c * p.channels, p.width, row + c * p.width);
    }
    if (p.core >= 0) make_pair_rows(p, kernels, plane);
  }
}

struct Loop {
  std::int64_t count, step;
};

/// Whether `inner` now does what both did.
bool join(const Loop& outer, Loop& inner) {
  if (inner.count == 1) {
    inner = outer;
    return true;
  }
  if (outer.count != 1 && inner.count * inner.step != outer.step) return false;
  inner.count *= outer.count;
  return true;
}

/// Loops of one step vanish, those that continue each other become one, and none is left around
/// what remains.
void set_loops(FactorTile& t, Loop samples, Loop rows, Loop columns) {
  constexpr Loop kOnce{1, 0};
  if (join(rows, columns)) {
    rows = join(samples, columns) ? kOnce : samples;
    samples = kOnce;
  } else if (join(samples, rows)) {
    samples = kOnce;
  }
  const Loop loops[] = {samples, rows, columns};
  for (int i = 0; i < 3; ++i) {
    t.count[i] = loops[i].count;
    t.a_step[i] = t.b_step[i] = loops[i].step;
  }
}

/// One item of one group over blocks of one round.
class ItemRun {
 public:
  ItemRun(const FactorPlan& plan, std::size_t item, const Kernels& kernels)
      : plan_(plan),
        item_(plan.items[item]),
        spans_(plan.spans_of(item)),
        kernels_(kernels),
        width_(item_.vectors * kernels.lanes),
        size_(item_.rows * width_) {
    int vector = 0;
    for (int k = 0; k < item_.strip_count; ++k) {
      for (int v = 0; v < item_.strips[k].vectors; ++v)
        offset_[vector++] = item_.strips[k].offset + v * kernels.lanes;
    }
  }

  /// Elements of the cells, and of the buffer that finish() wants.
  std::int64_t cells_size() const { return plan_.cells() * size_; }
  std::int64_t buffer_size() const {
    return (plan_.kh * plan_.horizontal.cells() + plan_.kw) * size_;
  }

  /// Adds samples [0, samples) of `images` to the cells, but for those that pairs of rows give.
  void add(const float* images, std::int64_t samples, float* cells, bool add) const {
    FactorTile t{};
    t.rows = item_.rows;
    t.acc_row = width_;
    t.add = add;
    const FactorAxis &up = axis(), &across = plan_.horizontal;
    const std::int64_t bands = up.last[static_cast<std::size_t>(taps_above() - 1)];
    for (std::int64_t y = 0; y < bands; ++y) {
      if (y == plan_.core) continue;
      for (std::int64_t x = 0; x < across.cells(); ++x) {
        const auto i = static_cast<std::size_t>(y), j = static_cast<std::size_t>(x);
        set_loops(t, {samples, plan_.image}, {up.edges[i + 1] - up.edges[i], plan_.row},
                  {across.edges[j + 1] - across.edges[j], plan_.pixel});
        const float* origin = images + up.edges[i] * plan_.row + across.edges[j] * plan_.pixel;
        t.a = origin + item_.offset;
        float* cell = cells + (y * across.cells() + x) * size_;
        const FactorSpan& span = spans_[j];
        if (!add && span.vectors < item_.vectors) std::fill_n(cell, size_, 0.0f);
        if (span.vectors == 0) continue;
        t.b = origin + span.begin;
        t.offset = offset_;
        t.vectors = span.vectors;
        t.last = last_lanes(up.edges[i + 1] - 1, across.edges[j + 1] - 1,
                            span.begin + offset_[span.vectors - 1]);
        t.acc = cell + span.begin;
        plan_.pixels.empty() ? kernels_.factor_tile(t) : add_listed(t, samples);
      }
    }
  }

  /// Adds the windows of all taps to `sums`.
  void finish(const float* cells, float* buffer, double* sums) const {
    if (!plan_.by_distance) {
      for (int k = 0, at = 0; k < item_.strip_count; ++k) {
        const FactorStrip& strip = item_.strips[k];
        add_block(cells + at, strip.end - strip.begin, item_.row, strip.column + strip.begin, sums);
        at += strip.vectors * kernels_.lanes;
      }
      return;
    }
    const FactorAxis &up = axis(), &across = plan_.horizontal;
    const std::int64_t row_size = across.cells() * size_, taps = taps_above();
    float* windows = buffer + taps * row_size;
    kernels_.sum_windows(cells, row_size, up.first.data(), up.last.data(), taps, buffer, row_size,
                         row_size);
    for (std::int64_t r = 0; r < taps; ++r) {
      kernels_.sum_windows(buffer + r * row_size, size_, across.first.data(), across.last.data(),
                           plan_.kw, windows, size_, size_);
      for (std::int64_t s = 0; s < plan_.kw; ++s) add_window(r, s, windows + s * size_, sums);
    }
  }

 private:
  /// How much of the last vector, `offset` behind the pixel, may be read when (y, x) is the last
  /// pixel: x may end with the image.
  int last_lanes(std::int64_t y, std::int64_t x, std::int64_t offset) const {
    if (!plan_.direct) return kernels_.lanes;
    const std::int64_t end = plan_.h * plan_.w * plan_.channels - (plan_.groups - 1) * plan_.group;
    return static_cast<int>(
        std::min<std::int64_t>(kernels_.lanes, end - y * plan_.row - x * plan_.pixel - offset));
  }

  /// As many samples as are listed at a time, then those that are left.
  void add_listed(FactorTile t, std::int64_t samples) const {
    const std::int64_t whole = samples / plan_.listed, rest = samples % plan_.listed;
    t.at = plan_.pixels.data();
    t.count[0] = 1;
    t.count[1] = whole;
    t.count[2] = std::ssize(plan_.pixels);
    t.a_step[1] = t.b_step[1] = plan_.listed * plan_.image;
    if (whole > 0 || rest == 0) kernels_.factor_tile(t);  // of no sample: zeros
    if (rest == 0) return;
    t.a += whole * t.a_step[1];
    t.b += whole * t.b_step[1];
    t.count[1] = 1;
    t.count[2] = t.count[2] / plan_.listed * rest;
    t.add = t.add || whole > 0;
    kernels_.factor_tile(t);
  }

  /// Kernel rows with a partner: their windows come first, so that what lies below them is not
  /// needed.
  std::int64_t taps_above() const { return plan_.by_distance ? plan_.kh - least_distance() : 1; }
  std::int64_t least_distance() const {
    std::int64_t least = plan_.kh;
    for (int k = 0; k < item_.strip_count; ++k) least = std::min(least, item_.strips[k].dh);
    return least;
  }
  const FactorAxis& axis() const { return plan_.axis(least_distance()); }

  /// The window of tap (r, s): every strip gives the taps (r + dh, s + dw) that exist.
  void add_window(std::int64_t r, std::int64_t s, const float* block, double* sums) const {
    const std::int64_t per = plan_.per, kw = plan_.kw;
    const std::int64_t row = (r * kw + s) * per + item_.row;
    for (int k = 0, at = 0; k < item_.strip_count; ++k) {
      const FactorStrip& strip = item_.strips[k];
      const std::int64_t begin = std::max(strip.begin, -(s + strip.dw) * per);
      const std::int64_t end = std::min(strip.end, (kw - s - strip.dw) * per);
      if (r + strip.dh < plan_.kh && begin < end) {
        const std::int64_t column = ((r + strip.dh) * kw + s + strip.dw) * per;
        add_block(block + at + begin - strip.begin, end - begin, row, column + begin, sums);
      }
      at += strip.vectors * kernels_.lanes;
    }
  }

  void add_block(const float* block, std::int64_t count, std::int64_t row, std::int64_t column,
                 double* sums) const {
    kernels_.widen_add(block, width_, sums + row * plan_.length + column, plan_.length, item_.rows,
                       count);
  }

  const FactorPlan& plan_;
  const FactorItem& item_;
  const FactorSpan* spans_;  // [horizontal cell]
  const Kernels& kernels_;
  std::int64_t width_, size_;
  std::ptrdiff_t offset_[kMaxPanelVectors] = {};
};

/// The items of one bundle, one set of cells behind the other, then the products of pairs of rows.
class BundleRun {
 public:
  BundleRun(const FactorPlan& plan, const FactorBundle& bundle, const Kernels& kernels)
      : plan_(plan), bundle_(bundle), kernels_(kernels), pairs_(plan, bundle, kernels) {}

  /// Elements that are kept from one round of a block to the next, and that finish() wants.
  std::int64_t kept_size() const {
    return bundle_.count * item(0).cells_size() + (paired() ? pairs_.size() : 0);
  }
  std::int64_t buffer_size() const { return item(0).buffer_size(); }

  void add(const float* images, std::int64_t samples, float* kept, bool add) const {
    const std::int64_t cells = item(0).cells_size();
    for (int k = 0; k < bundle_.count; ++k) item(k).add(images, samples, kept + k * cells, add);
    if (paired()) pairs_.add(images, samples, kept + bundle_.count * cells, add);
  }
  void finish(float* kept, float* buffer, double* sums) const {
    const std::int64_t cells = item(0).cells_size();
    if (paired()) pairs_.finish(kept + bundle_.count * cells, kept, cells);
    for (int k = 0; k < bundle_.count; ++k) item(k).finish(kept + k * cells, buffer, sums);
  }

 private:
  bool paired() const { return bundle_.count > 1; }
  ItemRun item(int k) const {
    return {plan_, static_cast<std::size_t>(bundle_.first + k), kernels_};
  }

  const FactorPlan& plan_;
  const FactorBundle& bundle_;
  const Kernels& kernels_;
  PairRun pairs_;
};

/// Everything the threads share.
struct Work {
  const FactorPlan& plan;
  const Kernels& kernels;
  Scratch& scratch;
  Cut cut;
  const float* x;
  std::int64_t kept_size = 0, buffer_size = 0;  // the largest of all bundles
  double* sums = nullptr;
  std::int64_t sums_size = 0;  // of one lane
  std::int64_t units() const {
    return static_cast<std::int64_t>(plan.bundles.size()) * plan.groups;
  }
};

/// Memory for a round of up to `blocks` blocks, of one thread or of all.
struct Room {
  float* staged = nullptr;  // [blocks][round samples][image] behind plan.lead
  float* parts = nullptr;   // what every unit keeps when a block needs several rounds
  Room(const Work& w, std::int64_t blocks, int thread) {
    const FactorPlan& p = w.plan;
    if (!p.direct) {
      const std::int64_t size = blocks * w.cut.round_samples * p.image;
      staged = w.scratch.get<float>(Use::strip, p.lead + size + kSlack, thread) + p.lead;
      std::fill_n(staged - p.lead, p.lead + size + kSlack, 0.0f);  // padding, for all samples
    }
    if (w.cut.parts())
      parts = w.scratch.get<float>(Use::partial, blocks * w.units() * w.kept_size, thread);
  }
};

/// Unit `unit` = (lane, group, bundle) of one round, whose first block has the first lane.
void run_unit(const Work& w, const Room& room, const Round& round, std::int64_t unit) {
  const FactorPlan& p = w.plan;
  const auto bundles = static_cast<std::int64_t>(p.bundles.size());
  const std::int64_t bundle = unit % bundles, group = unit / bundles % p.groups,
                     lane = (round.first_block + unit / w.units()) % w.cut.lanes;
  const BundleRun run(p, p.bundles[static_cast<std::size_t>(bundle)], w.kernels);
  double* sums = w.sums + lane * w.sums_size + group * p.length * p.length;
  const float* images = (p.direct ? w.x : room.staged) + group * p.group;
  float* own = w.scratch.get<float>(Use::result, w.kept_size + w.buffer_size, omp_get_thread_num());
  float* kept = w.cut.parts() ? room.parts + unit * w.kept_size : own;
  for (std::int64_t b = 0; b < round.blocks; ++b) {
    const std::int64_t block = round.first_block + b;
    if (block % w.cut.lanes != lane) continue;
    const std::int64_t first = w.cut.dealt().first_sample(block) + round.from;
    const std::int64_t samples = std::clamp<std::int64_t>(p.n - first, 0, round.to - round.from);
    const std::int64_t at = p.direct ? first : b * w.cut.round_samples;
    run.add(images + at * p.image, samples, kept, !round.starts());
    if (round.ends()) run.finish(kept, own + w.kept_size, sums);
  }
}

/// Samples `r` of those of a round.
void copy_samples(const Work& w, const Room& room, const Round& round, Range r) {
  const FactorPlan& p = w.plan;
  const std::int64_t each = round.to - round.from;
  for (std::int64_t i = r.begin; i < r.end; ++i) {
    const std::int64_t block = i / each, sample = i % each;
    const std::int64_t n =
        w.cut.dealt().first_sample(round.first_block + block) + round.from + sample;
    if (n >= p.n) continue;
    copy_image(p, w.kernels, w.x + n * p.h * p.w * p.channels,
               room.staged + (block * w.cut.round_samples + sample) * p.image);
  }
}

/// Calls body(round) for the parts of blocks [first, first + blocks).
template <class Body>
void for_rounds(const Cut& c, std::int64_t first, std::int64_t blocks, const Body& body) {
  for (std::int64_t from = 0; from < api::kSampleBlock; from += c.round_samples)
    body(Round{first, blocks, from, std::min(api::kSampleBlock, from + c.round_samples)});
}

/// By one thread.
void run_lane(const Work& w, std::int64_t lane) {
  const Room room(w, 1, omp_get_thread_num());
  for (std::int64_t block = lane; block < w.cut.blocks; block += w.cut.lanes) {
    for_rounds(w.cut, block, 1, [&](const Round& round) {
      if (!w.plan.direct) copy_samples(w, room, round, {0, round.to - round.from});
      for (std::int64_t unit = 0; unit < w.units(); ++unit) run_unit(w, room, round, unit);
    });
  }
}

/// Called by every thread of a team.
void run_round(const Work& w, const Room& room, const Round& round) {
  if (!w.plan.direct) {
    copy_samples(
        w, room, round,
        share(round.blocks * (round.to - round.from), omp_get_thread_num(), omp_get_num_threads()));
#pragma omp barrier
  }
  const std::int64_t units = w.units() * std::min(w.cut.lanes, round.blocks);
#pragma omp for schedule(dynamic)
  for (std::int64_t unit = 0; unit < units; ++unit) run_unit(w, room, round, unit);
}

}  // namespace

FactorSums run_factor(const FactorPlan& plan, const float* x, Context& context) {
  Scratch& scratch = context.ready();
  Work w{plan, context.kernels(), scratch, cut_batch(plan), x};
  const Cut& cut = w.cut;
  for (const FactorBundle& bundle : plan.bundles) {
    const BundleRun run(plan, bundle, w.kernels);
    w.kept_size = std::max(w.kept_size, run.kept_size());
    w.buffer_size = std::max(w.buffer_size, run.buffer_size());
  }
  w.sums_size = plan.groups * plan.length * plan.length;
  w.sums = scratch.get<double>(Use::sums, cut.lanes * w.sums_size);
  const FactorSums space{w.sums, cut.lanes, plan.groups * plan.length * plan.length};
  const double operations = plan.cost * static_cast<double>(plan.n * plan.groups);
  if (cut.lanes >= omp_get_max_threads())
    return sum_by_lanes(space, operations, [&](std::int64_t lane) { run_lane(w, lane); });
  const Room room(w, std::min(cut.blocks, cut.round_blocks), 0);
  return sum_in_team(space, operations, [&] {
    for (std::int64_t first = 0; first < cut.blocks; first += cut.round_blocks)
      for_rounds(cut, first, std::min(cut.round_blocks, cut.blocks - first),
                 [&](const Round& round) { run_round(w, room, round); });
  });
}

}  // namespace isaribi::simd
