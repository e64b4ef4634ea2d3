// SPDX-License-Identifier: MIT
// Blocks of samples are dealt out to lanes, each with sums of its own. A thread takes a lane and
// stores one block after the other channel by channel; where there are more threads than lanes, all
// threads store a round of blocks, then each takes one vertical distance of one block at a time, or
// all distances of one channel.
// What a thread does changes no bit: blocks of one lane follow each other, and distances share no
// element of the factor.
#include "backends/simd/factor_columns.hpp"

#include <algorithm>
#include <vector>

#include "backends/simd/parallel.hpp"

namespace isaribi::simd {
namespace {

constexpr std::int64_t kRoundBlocks = 4;  // sums of their own: lanes of FactorSums

/// The rows between the edges of the windows of the taps with a partner dh below; those that are
/// summed at once for all distances are one band.
FactorAxis bands_of(const ColumnPlan& p, std::int64_t dh) {
  const std::int64_t above = dh * p.dilation_h, size = std::max<std::int64_t>(0, p.h - above);
  if (!p.at_once()) return cut_axis(size, p.kh - dh, p.dilation_h, p.pad_top, p.out_h);
  return cut_axis(size, p.kh - dh, p.dilation_h, p.pad_top, p.out_h,
                  {p.core.begin - above, p.core.end - above});
}

/// Everything the threads share.
struct Work {
  const ColumnPlan& plan;
  const Kernels& kernels;
  Scratch& scratch;
  const float* x;
  Blocks blocks{};
  std::int64_t sums_size = 0;
  double* sums = nullptr;  // [lanes][groups][length][length]
};

std::vector<float> columns_seen(const ColumnPlan& p) {
  std::vector<float> seen(static_cast<std::size_t>(p.w * p.lanes), 0.0f);
  for (std::int64_t s = 0; s < p.kw; ++s) {
    const std::int64_t first = s * p.dilation_w - p.pad_left;
    for (std::int64_t w = std::max<std::int64_t>(0, first); w < std::min(p.w, first + p.out_w); ++w)
      seen[static_cast<std::size_t>(w * p.lanes + s)] = 1.0f;
  }
  return seen;
}

/// Planes [plane, plane + planes) of the left factor times the right ones of some shifts.
struct Part {
  std::int64_t dh, plane, planes, shift, shifts;
  std::int64_t pairs() const { return planes * shifts; }
};

/// Vertical distances [dh, dh + planes) at shifts [shift, shift + shifts).
struct TileAtOnce {
  std::int64_t dh, planes, shift, shifts;
};

/// Calls body(TileAtOnce) for tiles that cover all distances: squares, of which the loads are few.
template <class Body>
void for_tiles_at_once(const ColumnPlan& p, const Kernels& kernels, const Body& body) {
  constexpr std::int64_t kShifts = 5;
  const auto rectangle = [&](std::int64_t dh, std::int64_t first, std::int64_t end) {
    for (std::int64_t shift = first; shift < end; shift += kShifts) {
      const std::int64_t shifts = std::min(kShifts, end - shift);
      const std::int64_t most = kernels.column_planes[shifts];
      for (std::int64_t d = dh; d < p.kh; d += most)
        body(TileAtOnce{d, std::min(most, p.kh - d), shift, shifts});
    }
  };
  rectangle(1, 1 - p.kw, 0);
  rectangle(0, 0, p.kw);
}

/// The sums over the rows of plan.core of one block of samples, for all distances: [dh][shift]
/// [width]. The planes of a tile are the rows above, so that a load serves several distances.
void sum_core(const Work& w, const float* images, std::int64_t samples, float* core) {
  const ColumnPlan& p = w.plan;
  alignas(64) float sums[kMostColumnPairs * 16];
  ColumnTile t{};
  t.a_image = t.b_image = p.image;
  t.a_row = t.b_row = p.pitch;
  t.a_plane = -p.dilation_h * p.pitch;
  t.shift = p.dilation_w;
  t.samples = samples;
  t.rows = p.core.end - p.core.begin;
  t.acc = sums;
  t.acc_step = p.lanes;
  for_tiles_at_once(p, w.kernels, [&](const TileAtOnce& tile) {
    t.planes = static_cast<int>(tile.planes);
    t.shifts = static_cast<int>(tile.shifts);
    for (std::int64_t v = 0; v < p.vectors; ++v) {
      const std::int64_t at = p.core.begin * p.pitch + p.lanes + v * p.lanes;  // behind the margin
      t.a = images + at - tile.dh * p.dilation_h * p.pitch;
      t.b = images + at + tile.shift * p.dilation_w;
      w.kernels.column_tile(t);
      for (std::int64_t i = 0; i < tile.planes; ++i) {
        for (std::int64_t j = 0; j < tile.shifts; ++j)
          std::copy_n(sums + (i * tile.shifts + j) * p.lanes, p.lanes,
                      core + p.core_of(tile.dh + i, tile.shift + j) + v * p.lanes);
      }
    }
  });
}

/// One vertical distance of one block of samples of one group.
class ColumnRun {
 public:
  /// `core`: what sum_core gave, or nullptr.
  ColumnRun(const Work& work, std::int64_t dh, const float* images, std::int64_t samples,
            const float* core, double* sums)
      : w_(work),
        p_(work.plan),
        bands_(work.plan.bands[static_cast<std::size_t>(dh)]),
        dh_(dh),
        images_(images),
        samples_(samples),
        core_(core),
        sums_(sums),
        pair_(p_.width()) {
    const std::int64_t most = kMostColumnPairs, taps = p_.kh - dh;
    const std::int64_t cells = bands_.cells() * most * pair_;
    const std::int64_t entries = taps * most * p_.kw * p_.per;
    cells_ = w_.scratch.get<float>(Use::result, cells + most * (pair_ + p_.lanes) + entries,
                                   omp_get_thread_num());
    window_ = cells_ + cells;
    row_ = window_ + most * pair_;
    entries_ = row_ + most * p_.lanes;
  }

  void run() {
    const std::int64_t shifts = p_.shifts(dh_);
    const std::int64_t pieces = (shifts + kMostColumnShifts - 1) / kMostColumnShifts;
    for (std::int64_t k = 0; k < pieces; ++k) {
      Part part{dh_, 0, 0, shifts * k / pieces, 0};
      part.shifts = shifts * (k + 1) / pieces - part.shift;
      part.shift += p_.least_shift(dh_);
      const std::int64_t most = w_.kernels.column_planes[part.shifts];
      for (; part.plane < p_.per; part.plane += part.planes) {
        part.planes = std::min(most, p_.per - part.plane);
        for (std::int64_t c = 0; c < p_.per; ++c) products(part, c);
        add_blocks(part);
      }
    }
  }

 private:
  /// The sums of all bands, [band][planes][shifts][width]; `b`: the right factor of row 0 and shift
  /// 0.
  void sum_bands(const Part& part, const float* b) const {
    ColumnTile t{};
    t.a_image = t.b_image = p_.image;
    t.a_row = t.b_row = p_.pitch;
    t.a_plane = p_.plane;
    t.shift = p_.dilation_w;
    t.samples = samples_;
    t.planes = static_cast<int>(part.planes);
    t.shifts = static_cast<int>(part.shifts);
    t.acc_step = pair_;
    const std::int64_t core = p_.core.begin - dh_ * p_.dilation_h;
    for (std::int64_t k = 0; k < bands_.cells(); ++k) {
      const std::int64_t from = bands_.edges[static_cast<std::size_t>(k)];
      if (core_ != nullptr && from == core) {
        std::copy_n(core_ + p_.core_of(dh_, part.shift), part.shifts * pair_,
                    cells_ + k * part.shifts * pair_);
        continue;
      }
      t.rows = bands_.edges[static_cast<std::size_t>(k + 1)] - from;
      for (std::int64_t v = 0; v < p_.vectors; ++v) {
        const std::int64_t at = p_.lanes + v * p_.lanes;  // behind the margin
        t.a = images_ + part.plane * p_.plane + from * p_.pitch + at;
        t.b = b + (from + part.dh * p_.dilation_h) * p_.pitch + at;
        t.acc = cells_ + k * part.pairs() * pair_ + v * p_.lanes;
        w_.kernels.column_tile(t);
      }
    }
  }

  /// For the window of kernel row r: row_[pair][s], summed over columns as tap s sees them.
  void sum_window(std::int64_t r, std::int64_t pairs) const {
    const std::int64_t first = bands_.first[static_cast<std::size_t>(r)],
                       last = bands_.last[static_cast<std::size_t>(r)], size = pairs * pair_;
    const float* sum = cells_ + first * size;
    for (std::int64_t k = first + 1; k < last; ++k) {
      w_.kernels.add(sum, cells_ + k * size, window_, size, false);
      sum = window_;
    }
    if (first == last) {
      std::fill_n(window_, size, 0.0f);
      sum = window_;
    }
    w_.kernels.column_windows({sum, pair_, pairs, p_.w, p_.seen.data(), row_});
  }

  /// Fills entries_[r][pair][s][c] for channel c of the right factor.
  void products(const Part& part, std::int64_t c) const {
    sum_bands(part, images_ + c * p_.plane + part.shift * p_.dilation_w);
    for (std::int64_t r = 0; r < p_.kh - part.dh; ++r) {
      sum_window(r, part.pairs());
      for (std::int64_t i = 0; i < part.pairs(); ++i) {
        float* to = entries_ + (r * part.pairs() + i) * p_.kw * p_.per + c;
        for (std::int64_t s = 0; s < p_.kw; ++s) to[s * p_.per] = row_[i * p_.lanes + s];
      }
    }
  }

  void add_blocks(const Part& part) const {
    const float* from = entries_;
    for (std::int64_t r = 0; r < p_.kh - part.dh; ++r) {
      for (std::int64_t i = 0; i < part.pairs(); ++i) {
        const std::int64_t plane = part.plane + i / part.shifts,
                           shift = part.shift + i % part.shifts;
        for (std::int64_t s = 0; s < p_.kw; ++s, from += p_.per) {
          if (s + shift < 0 || s + shift >= p_.kw) continue;
          const std::int64_t column = ((r + part.dh) * p_.kw + s + shift) * p_.per;
          double* to = sums_ + ((r * p_.kw + s) * p_.per + plane) * p_.length + column;
          for (std::int64_t c = 0; c < p_.per; ++c) to[c] += static_cast<double>(from[c]);
        }
      }
    }
  }

  const Work& w_;
  const ColumnPlan& p_;
  const FactorAxis& bands_;
  std::int64_t dh_;
  const float* images_;
  std::int64_t samples_;
  const float* core_;
  double* sums_;
  std::int64_t pair_;  // elements of the product of two rows
  float *cells_, *window_, *row_, *entries_;
};

void stage_sample(const Work& w, std::int64_t n, float* to) {
  const ColumnPlan& p = w.plan;
  const float* x = w.x + n * p.h * p.w * p.channels;
  for (std::int64_t c = 0; c < p.channels; ++c)
    w.kernels.stage_rows(x + c, p.channels, p.h, p.w, to + c * p.plane);
}

/// A row's right margin is the left one of the next; behind the last row of what is staged there is
/// one more.
void end_margin(const Work& w, float* to) {
  std::fill_n(to, w.plan.lanes, 0.0f);
}

/// Memory for `samples` samples, of one thread or of all.
float* room_for(const Work& w, std::int64_t samples, int thread) {
  const std::int64_t all = samples * w.plan.image;
  float* staged = w.scratch.get<float>(Use::strip, all + w.plan.lanes, thread);
  end_margin(w, staged + all);
  return staged;
}

std::int64_t samples_of(const Work& w, std::int64_t block) {
  return std::clamp<std::int64_t>(w.plan.n - w.blocks.first_sample(block), 0, api::kSampleBlock);
}

/// Unit `unit` of a block that is stored at `images`: one vertical distance of a group, or all.
void run_unit(const Work& w, std::int64_t block, std::int64_t unit, const float* images) {
  const ColumnPlan& p = w.plan;
  const std::int64_t samples = samples_of(w, block), group = unit / p.units();
  if (samples == 0) return;
  const float* first = images + group * p.per * p.plane;
  double* sums = w.sums + w.blocks.lane(block) * w.sums_size + group * p.length * p.length;
  if (!p.at_once()) {
    ColumnRun(w, unit % p.kh, first, samples, nullptr, sums).run();
    return;
  }
  float* core = w.scratch.get<float>(Use::partial, p.core_of(p.kh, 1 - p.kw), omp_get_thread_num());
  sum_core(w, first, samples, core);
  for (std::int64_t dh = 0; dh < p.kh; ++dh) ColumnRun(w, dh, first, samples, core, sums).run();
}

/// By one thread.
void run_lane(const Work& w, std::int64_t lane) {
  const ColumnPlan& p = w.plan;
  float* staged = room_for(w, api::kSampleBlock, omp_get_thread_num());
  for (std::int64_t block = lane; block < w.blocks.count(); block += w.blocks.lanes) {
    for (std::int64_t i = 0; i < samples_of(w, block); ++i)
      stage_sample(w, w.blocks.first_sample(block) + i, staged + i * p.image);
    end_margin(w, staged + samples_of(w, block) * p.image);
    for (std::int64_t unit = 0; unit < p.groups * p.units(); ++unit)
      run_unit(w, block, unit, staged);
  }
}

/// Called by every thread of a team; `staged`: [lanes][kSampleBlock][image].
void run_rounds(const Work& w, float* staged) {
  const ColumnPlan& p = w.plan;
  const std::int64_t units = p.groups * p.units(), block_size = api::kSampleBlock * p.image;
  const std::int64_t samples = w.blocks.lanes * api::kSampleBlock;
  for (std::int64_t first = 0; first < w.blocks.count(); first += w.blocks.lanes) {
    const Range r = share(samples, omp_get_thread_num(), omp_get_num_threads());
    for (std::int64_t i = r.begin; i < r.end; ++i) {
      const std::int64_t n =
          w.blocks.first_sample(first + i / api::kSampleBlock) + i % api::kSampleBlock;
      n < p.n ? stage_sample(w, n, staged + i * p.image) : end_margin(w, staged + i * p.image);
    }
#pragma omp barrier
#pragma omp for schedule(dynamic)
    for (std::int64_t i = 0; i < w.blocks.lanes * units; ++i)
      run_unit(w, first + i / units, i % units, staged + i / units * block_size);
  }
}

/// The rows that lie, as the lower ones of a pair, in the windows of all taps at every distance.
Range core_of(const ColumnPlan& p) {
  Range core{0, p.h};
  for (std::int64_t dh = 0; dh < p.kh; ++dh) {
    const std::int64_t above = dh * p.dilation_h;
    core.begin = std::max({core.begin, above, (p.kh - 1) * p.dilation_h - p.pad_top});
    core.end = std::min(core.end, above + p.out_h - p.pad_top);
  }
  return {core.begin, std::max(core.begin, core.end)};
}

/// Vector operations per sample.
double cost_of(const ColumnPlan& p, const Kernels& kernels) {
  const auto vectors = static_cast<double>(p.vectors);
  const std::int64_t at_once = p.core.end - p.core.begin;
  double cost = static_cast<double>(2 * p.per * p.h * (p.vectors + 1));
  if (p.at_once()) {
    for_tiles_at_once(p, kernels, [&](const TileAtOnce& tile) {
      const auto planes = static_cast<double>(tile.planes),
                 shifts = static_cast<double>(tile.shifts);
      cost += static_cast<double>(at_once) * vectors *
              std::max(planes * shifts, kSplitLoad * shifts + planes);
    });
  }
  for (std::int64_t dh = 0; dh < p.kh; ++dh) {
    const std::int64_t shifts = std::min<std::int64_t>(p.shifts(dh), kMostColumnShifts);
    const auto planes =
        static_cast<double>(std::min<std::int64_t>(kernels.column_planes[shifts], p.per));
    const auto pairs = static_cast<double>(p.per * p.per * p.shifts(dh)),
               taps = static_cast<double>(p.kh - dh);
    const auto rows =
        static_cast<double>(std::max<std::int64_t>(0, p.h - dh * p.dilation_h - at_once)) * vectors;
    const double loads = kSplitLoad / planes + 1.0 / static_cast<double>(shifts);  // per product
    const double block = taps * (2.0 * taps * vectors + 16.0);
    cost += pairs * (rows * std::max(1.0, loads) + block / static_cast<double>(api::kSampleBlock));
  }
  return cost;
}

}  // namespace

bool make_column_plan(const api::PatchCovariance& args, const Kernels& kernels, ColumnPlan& p) {
  const core::Shape& x = args.x.shape();
  const api::ConvGeometry& g = args.geometry;
  p.lanes = kernels.lanes;
  if (g.stride_h != 1 || g.stride_w != 1 || args.kh * args.kw == 1 || args.kw > p.lanes ||
      (args.kw - 1) * g.dilation_w > p.lanes)
    return false;
  p.n = x[0], p.h = x[1], p.w = x[2], p.channels = x[3];
  p.groups = g.groups, p.per = x[3] / g.groups;
  p.kh = args.kh, p.kw = args.kw, p.length = args.length();
  p.dilation_h = g.dilation_h, p.dilation_w = g.dilation_w;
  p.pad_top = g.pad_top, p.pad_left = g.pad_left;
  p.out_h = g.out_h(p.h, p.kh), p.out_w = g.out_w(p.w, p.kw);
  p.vectors = (p.w + p.lanes - 1) / p.lanes;
  p.pitch = p.lanes + p.width();
  p.plane = p.h * p.pitch;
  p.image = p.channels * p.plane;
  p.core = {};
  p.cost = cost_of(p, kernels);
  if (p.per == 1) {
    ColumnPlan other = p;
    other.core = core_of(p);
    other.cost = cost_of(other, kernels);
    if (other.at_once() && other.cost < p.cost) p = other;
  }
  p.bands.clear();
  for (std::int64_t dh = 0; dh < p.kh; ++dh) p.bands.push_back(bands_of(p, dh));
  p.seen = columns_seen(p);
  return true;
}

FactorSums run_columns(const ColumnPlan& p, const float* x, Context& context) {
  Scratch& scratch = context.ready();
  Work w{p, context.kernels(), scratch, x};
  const std::int64_t blocks =
      std::max<std::int64_t>(1, (p.n + api::kSampleBlock - 1) / api::kSampleBlock);
  const std::int64_t lanes = std::min(blocks, kRoundBlocks);
  w.blocks = {lanes, (blocks + lanes - 1) / lanes};
  w.sums_size = p.groups * p.length * p.length;
  w.sums = scratch.get<double>(Use::sums, lanes * w.sums_size);
  const FactorSums space{w.sums, lanes, w.sums_size};
  const double operations = p.cost * static_cast<double>(p.n * p.groups);
  if (lanes >= omp_get_max_threads())
    return sum_by_lanes(space, operations, [&](std::int64_t lane) { run_lane(w, lane); });
  float* staged = room_for(w, lanes * api::kSampleBlock, 0);
  return sum_in_team(space, operations, [&] { run_rounds(w, staged); });
}

}  // namespace isaribi::simd
