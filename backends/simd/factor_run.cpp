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
constexpr std::int64_t kSlack = 64;      // elements that whole vectors may read behind an image
constexpr std::int64_t kWorkUnits = 16;  // tiles x lanes to aim at
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
  const std::int64_t fit = std::clamp<std::int64_t>(kUnitBytes / image_bytes, 1, api::kSampleBlock);
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

/// Sample `n`, group by group, between its padding, which is there.
void copy_image(const FactorPlan& p, const Kernels& kernels, const float* x, float* to) {
  const std::int64_t rows = std::min(p.h, p.rows - p.top);
  const std::int64_t columns = std::min(p.w, p.columns - p.left);
  for (std::int64_t g = 0; g < p.groups; ++g) {
    for (std::int64_t y = 0; y < rows && columns > 0; ++y) {
      float* row = to + g * p.group + ((y + p.top) * p.columns + p.left) * p.per;
      const float* source = x + y * p.w * p.channels + g * p.per;
      if (p.groups == 1) {
        std::memcpy(row, source, static_cast<std::size_t>(columns * p.per) * sizeof(float));
        continue;
      }
      for (std::int64_t c = 0; c < columns; ++c)
        std::copy_n(source + c * p.channels, p.per, row + c * p.per);
    }
    if (p.core >= 0) make_pair_rows(p, kernels, to + g * p.group);
  }
}

/// The loops of a tile over samples, rows and columns: those of one step vanish, those that
/// continue each other become one, and none is left around what remains.
void set_loops(FactorTile& t, const std::int64_t (&count)[3], const std::int64_t (&step)[3]) {
  int used = 0;
  std::int64_t counts[3] = {1, 1, 1}, steps[3] = {0, 0, 0};
  for (int i = 0; i < 3; ++i) {
    if (count[i] == 1) continue;
    if (used > 0 && steps[used - 1] == count[i] * step[i]) {
      counts[used - 1] *= count[i];
      steps[used - 1] = step[i];
    } else {
      counts[used] = count[i];
      steps[used++] = step[i];
    }
  }
  for (int i = 0; i < 3; ++i) {
    const int from = i - (3 - used);  // right aligned
    t.count[i] = from < 0 ? 1 : counts[from];
    t.b_step[i] = from < 0 ? 0 : steps[from];
    t.a_step[i] = t.b_step[i];
  }
}

/// One item of one group over blocks of one round.
class ItemRun {
 public:
  ItemRun(const FactorPlan& plan, const FactorItem& item, const Kernels& kernels)
      : plan_(plan),
        item_(item),
        kernels_(kernels),
        width_(item.vectors * kernels.lanes),
        size_(item.rows * width_) {
    int vector = 0;
    for (int k = 0; k < item.strip_count; ++k) {
      for (int v = 0; v < item.strips[k].vectors; ++v)
        offset_[vector++] = item.strips[k].offset + v * kernels.lanes;
    }
  }

  /// Elements of the cells, and of the buffer that finish() wants.
  std::int64_t cells_size() const { return plan_.cells() * size_; }
  std::int64_t buffer_size() const { return (plan_.horizontal.cells() + 1) * size_; }

  /// Adds samples [0, samples) of `images` to the cells, but for those that pairs of rows give.
  void add(const float* images, std::int64_t samples, float* cells, bool add) const {
    FactorTile t{};
    t.rows = item_.rows;
    t.last = item_.last;
    t.acc_row = width_;
    t.add = add;
    const std::int64_t step[3] = {plan_.image, plan_.row, plan_.pixel};
    const FactorAxis &up = axis(), &across = plan_.horizontal;
    const std::int64_t bands = up.last[static_cast<std::size_t>(taps_above() - 1)];
    for (std::int64_t y = 0; y < bands; ++y) {
      if (y == plan_.core) continue;
      for (std::int64_t x = 0; x < across.cells(); ++x) {
        const auto i = static_cast<std::size_t>(y), j = static_cast<std::size_t>(x);
        const std::int64_t count[3] = {samples, up.edges[i + 1] - up.edges[i],
                                       across.edges[j + 1] - across.edges[j]};
        set_loops(t, count, step);
        const float* origin = images + up.edges[i] * plan_.row + across.edges[j] * plan_.pixel;
        t.a = origin + item_.offset;
        t.b = origin;
        float* cell = cells + (y * across.cells() + x) * size_;
        const Range inside = vectors_inside({across.edges[j], across.edges[j + 1]});
        if (!add && inside.end - inside.begin < item_.vectors) std::fill_n(cell, size_, 0.0f);
        if (inside.begin >= inside.end) continue;
        t.offset = offset_ + inside.begin;
        t.vectors = static_cast<int>(inside.end - inside.begin);
        t.acc = cell + inside.begin * kernels_.lanes;
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
    float* rows = buffer;
    float* block = rows + plan_.horizontal.cells() * size_;
    const std::int64_t row_size = plan_.horizontal.cells() * size_;
    const FactorAxis& up = axis();
    for (std::int64_t r = 0; r < taps_above(); ++r) {
      const auto tap = static_cast<std::size_t>(r);
      if (up.first[tap] == up.last[tap]) continue;
      const float* band = sum_of(cells, up.first[tap], up.last[tap], row_size, rows);
      for (std::int64_t s = 0; s < plan_.kw; ++s) {
        const auto column = static_cast<std::size_t>(s);
        if (plan_.horizontal.first[column] == plan_.horizontal.last[column]) continue;
        add_window(r, s,
                   sum_of(band, plan_.horizontal.first[column], plan_.horizontal.last[column],
                          size_, block),
                   sums);
      }
    }
  }

 private:
  /// The vectors that reach into the image from some of these columns: the others meet its padding
  /// only, where x is 0.
  Range vectors_inside(Range columns) const {
    const FactorStrip& strip = item_.strips[0];
    if (!plan_.by_distance || item_.strip_count != 1) return {0, item_.vectors};
    const std::int64_t per = plan_.per, lanes = kernels_.lanes, dw = strip.dw * plan_.dilation_w;
    const std::int64_t first = (1 - columns.end - dw) * per - strip.begin;
    const std::int64_t end = (plan_.w - columns.begin - dw) * per - strip.begin;
    return {std::max<std::int64_t>(0, first) / lanes,
            std::clamp<std::int64_t>((end + lanes - 1) / lanes, 0, item_.vectors)};
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

  /// The sum of parts [first, last) of `size` elements each: in `to`, or the part itself.
  const float* sum_of(const float* parts, std::int64_t first, std::int64_t last, std::int64_t size,
                      float* to) const {
    const float* sum = parts + first * size;
    for (std::int64_t i = first + 1; i < last; ++i) {
      kernels_.add(sum, parts + i * size, to, size, false);
      sum = to;
    }
    return sum;
  }

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
    return {plan_, plan_.items[static_cast<std::size_t>(bundle_.first + k)], kernels_};
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
