// SPDX-License-Identifier: MIT
// Blocks of samples are dealt out to lanes, each with sums of its own. A thread takes a lane and
// stores one block after the other channel by channel; where there are more threads than lanes, all
// threads store a round of blocks, then each takes one vertical distance of one block at a time.
// What a thread does changes no bit: blocks of one lane follow each other, and distances share no
// element of the factor.
#include "backends/simd/factor_columns.hpp"

#include <algorithm>
#include <vector>

#include "backends/simd/parallel.hpp"

namespace isaribi::simd {
namespace {

constexpr std::int64_t kRoundBlocks = 4;  // sums of their own: lanes of FactorSums

/// The rows that the windows of taps r < count see, at one vertical distance: bands between their
/// edges, those of tap r being [first[r], last[r]).
struct Bands {
  std::vector<std::int64_t> edges, first, last;
  std::int64_t count() const { return static_cast<std::int64_t>(edges.size()) - 1; }
};

Bands bands_of(const ColumnPlan& p, std::int64_t dh) {
  Bands bands;
  const std::int64_t end = std::max<std::int64_t>(0, p.h - dh * p.dilation_h);
  const auto edge = [&](std::int64_t r, std::int64_t rows) {
    return std::clamp<std::int64_t>(r * p.dilation_h - p.pad_top + rows, 0, end);
  };
  for (std::int64_t r = 0; r < p.kh - dh; ++r) {
    bands.edges.push_back(edge(r, 0));
    bands.edges.push_back(edge(r, p.out_h));
  }
  std::sort(bands.edges.begin(), bands.edges.end());
  bands.edges.erase(std::unique(bands.edges.begin(), bands.edges.end()), bands.edges.end());
  const auto at = [&](std::int64_t row) {
    return std::lower_bound(bands.edges.begin(), bands.edges.end(), row) - bands.edges.begin();
  };
  for (std::int64_t r = 0; r < p.kh - dh; ++r) {
    bands.first.push_back(at(edge(r, 0)));
    bands.last.push_back(at(edge(r, p.out_h)));
  }
  return bands;
}

/// Everything the threads share.
struct Work {
  const ColumnPlan& plan;
  const Kernels& kernels;
  Scratch& scratch;
  const float* x;
  std::vector<Bands> bands;  // [dh]
  std::vector<float> seen;   // [w][lanes]: 1 where column w is in the window of tap s
  std::int64_t blocks = 0, lanes = 0, sums_size = 0;
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

/// One vertical distance of one block of samples of one group.
class ColumnRun {
 public:
  ColumnRun(const Work& work, std::int64_t dh, const float* images, std::int64_t samples,
            double* sums)
      : w_(work),
        p_(work.plan),
        bands_(work.bands[static_cast<std::size_t>(dh)]),
        dh_(dh),
        images_(images),
        samples_(samples),
        sums_(sums),
        pair_(p_.width()) {
    const std::int64_t most = 3 * kMostColumnShifts, taps = p_.kh - dh;
    const std::int64_t cells = std::max<std::int64_t>(1, bands_.count()) * most * pair_;
    const std::int64_t entries = taps * most * p_.kw * p_.per;
    cells_ = w_.scratch.get<float>(Use::result, cells + most * (pair_ + p_.lanes) + entries,
                                   omp_get_thread_num());
    window_ = cells_ + cells;
    row_ = window_ + most * pair_;
    entries_ = row_ + most * p_.lanes;
  }

  void run() {
    if (bands_.count() < 1) return;
    const std::int64_t shifts = p_.shifts(dh_);
    const std::int64_t pieces = (shifts + kMostColumnShifts - 1) / kMostColumnShifts;
    for (std::int64_t k = 0; k < pieces; ++k) {
      Part part{dh_, 0, 0, shifts * k / pieces, 0};
      part.shifts = shifts * (k + 1) / pieces - part.shift;
      part.shift += p_.least_shift(dh_);
      for_planes(part, [&] {
        for (std::int64_t c = 0; c < p_.per; ++c) products(part, c);
        add_blocks(part);
      });
    }
    if (p_.bias && dh_ == 0) add_means();
  }

 private:
  template <class Body>
  void for_planes(Part& part, const Body& body) const {
    const std::int64_t most = w_.kernels.column_planes[part.shifts];
    for (part.plane = 0; part.plane < p_.per; part.plane += part.planes) {
      part.planes = std::min(most, p_.per - part.plane);
      body();
    }
  }

  /// The sums of all bands, [band][planes][shifts][width]; `b`: the right factor of row 0 and shift
  /// 0, or of the constant 1.
  void sum_bands(const Part& part, const float* b, bool constant) const {
    ColumnTile t{};
    t.a_image = p_.image;
    t.a_row = p_.pitch;
    t.a_plane = p_.plane;
    t.b_image = constant ? 0 : p_.image;
    t.b_row = constant ? 0 : p_.pitch;
    t.shift = p_.dilation_w;
    t.samples = samples_;
    t.planes = static_cast<int>(part.planes);
    t.shifts = static_cast<int>(part.shifts);
    t.acc_step = pair_;
    for (std::int64_t k = 0; k < bands_.count(); ++k) {
      const std::int64_t from = bands_.edges[static_cast<std::size_t>(k)];
      t.rows = bands_.edges[static_cast<std::size_t>(k + 1)] - from;
      for (std::int64_t v = 0; v < p_.vectors; ++v) {
        const std::int64_t at = p_.lanes + v * p_.lanes;  // behind the margin
        t.a = images_ + part.plane * p_.plane + from * p_.pitch + at;
        t.b = constant ? b : b + (from + part.dh * p_.dilation_h) * p_.pitch + at;
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
    w_.kernels.column_windows({sum, pair_, pairs, p_.w, w_.seen.data(), row_});
  }

  /// Fills entries_[r][pair][s][c] for channel c of the right factor.
  void products(const Part& part, std::int64_t c) const {
    sum_bands(part, images_ + c * p_.plane + part.shift * p_.dilation_w, false);
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

  /// The row of the constant 1.
  void add_means() const {
    alignas(64) static constexpr float kOnes[16] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    Part part{0, 0, 0, 0, 1};
    for_planes(part, [&] {
      sum_bands(part, kOnes, true);
      for (std::int64_t r = 0; r < p_.kh; ++r) {
        sum_window(r, part.planes);
        double* to = sums_ + (p_.length - 1) * p_.length + r * p_.kw * p_.per + part.plane;
        for (std::int64_t i = 0; i < part.planes; ++i) {
          for (std::int64_t s = 0; s < p_.kw; ++s)
            to[s * p_.per + i] += static_cast<double>(row_[i * p_.lanes + s]);
        }
      }
    });
  }

  const Work& w_;
  const ColumnPlan& p_;
  const Bands& bands_;
  std::int64_t dh_;
  const float* images_;
  std::int64_t samples_;
  double* sums_;
  std::int64_t pair_;  // elements of the product of two rows
  float *cells_, *window_, *row_, *entries_;
};

void stage_sample(const Work& w, std::int64_t n, float* to) {
  const ColumnPlan& p = w.plan;
  const float* x = w.x + n * p.h * p.w * p.channels;
  for (std::int64_t c = 0; c < p.channels; ++c) {
    for (std::int64_t h = 0; h < p.h; ++h)
      w.kernels.stage_row(x + h * p.w * p.channels + c, p.channels, p.w,
                          to + c * p.plane + h * p.pitch);
  }
}

/// Memory for `samples` samples, of one thread or of all. A row's right margin is the left one of
/// the next: behind the last there is one more.
float* room_for(const Work& w, std::int64_t samples, int thread) {
  const std::int64_t all = samples * w.plan.image;
  float* staged = w.scratch.get<float>(Use::strip, all + w.plan.lanes, thread);
  std::fill_n(staged + all, w.plan.lanes, 0.0f);
  return staged;
}

std::int64_t samples_of(const Work& w, std::int64_t block) {
  return std::clamp<std::int64_t>(w.plan.n - block * api::kSampleBlock, 0, api::kSampleBlock);
}

/// Unit `unit` = (group, vertical distance) of a block that is stored at `images`.
void run_unit(const Work& w, std::int64_t block, std::int64_t unit, const float* images) {
  const ColumnPlan& p = w.plan;
  const std::int64_t dh = unit % p.kh, group = unit / p.kh, samples = samples_of(w, block);
  if (samples == 0) return;
  ColumnRun(w, dh, images + group * p.per * p.plane, samples,
            w.sums + block % w.lanes * w.sums_size + group * p.length * p.length)
      .run();
}

/// By one thread.
void run_lane(const Work& w, std::int64_t lane) {
  const ColumnPlan& p = w.plan;
  float* staged = room_for(w, api::kSampleBlock, omp_get_thread_num());
  for (std::int64_t block = lane; block < w.blocks; block += w.lanes) {
    for (std::int64_t i = 0; i < samples_of(w, block); ++i)
      stage_sample(w, block * api::kSampleBlock + i, staged + i * p.image);
    for (std::int64_t unit = 0; unit < p.groups * p.kh; ++unit) run_unit(w, block, unit, staged);
  }
}

/// Called by every thread of a team; `staged`: [lanes][kSampleBlock][image].
void run_rounds(const Work& w, float* staged) {
  const ColumnPlan& p = w.plan;
  const std::int64_t units = p.groups * p.kh, block_size = api::kSampleBlock * p.image;
  for (std::int64_t first = 0; first < w.blocks; first += w.lanes) {
    const std::int64_t begin = first * api::kSampleBlock,
                       end = std::min(p.n, begin + w.lanes * api::kSampleBlock);
    const Range r = share(end - begin, omp_get_thread_num(), omp_get_num_threads());
    for (std::int64_t i = r.begin; i < r.end; ++i) stage_sample(w, begin + i, staged + i * p.image);
#pragma omp barrier
#pragma omp for schedule(dynamic)
    for (std::int64_t i = 0; i < w.lanes * units; ++i)
      run_unit(w, first + i / units, i % units, staged + i / units * block_size);
  }
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
  p.kh = args.kh, p.kw = args.kw, p.length = args.length(), p.bias = args.bias;
  p.dilation_h = g.dilation_h, p.dilation_w = g.dilation_w;
  p.pad_top = g.pad_top, p.pad_left = g.pad_left;
  p.out_h = g.out_h(p.h, p.kh), p.out_w = g.out_w(p.w, p.kw);
  p.vectors = (p.w + p.lanes - 1) / p.lanes;
  p.pitch = p.lanes + p.width();
  p.plane = p.h * p.pitch;
  p.image = p.channels * p.plane;
  p.cost = static_cast<double>(2 * p.per * p.h * (p.vectors + 1));
  for (std::int64_t dh = 0; dh < p.kh; ++dh) {
    const std::int64_t shifts = std::min<std::int64_t>(p.shifts(dh), kMostColumnShifts);
    const auto planes =
        static_cast<double>(std::min<std::int64_t>(kernels.column_planes[shifts], p.per));
    const auto pairs = static_cast<double>(p.per * p.per * p.shifts(dh)),
               taps = static_cast<double>(p.kh - dh), vectors = static_cast<double>(p.vectors);
    const auto rows =
        static_cast<double>(std::max<std::int64_t>(0, p.h - dh * p.dilation_h)) * vectors;
    const double loads = kSplitLoad / planes + 1.0 / static_cast<double>(shifts);  // per product
    const double block = taps * (2.0 * taps * vectors + 16.0);
    p.cost +=
        pairs * (rows * std::max(1.0, loads) + block / static_cast<double>(api::kSampleBlock));
  }
  return true;
}

FactorSums run_columns(const ColumnPlan& p, const float* x, Context& context) {
  Scratch& scratch = context.ready();
  Work w{p, context.kernels(), scratch, x, {}, columns_seen(p)};
  for (std::int64_t dh = 0; dh < p.kh; ++dh) w.bands.push_back(bands_of(p, dh));
  w.blocks = std::max<std::int64_t>(1, (p.n + api::kSampleBlock - 1) / api::kSampleBlock);
  w.lanes = std::min(w.blocks, kRoundBlocks);
  w.sums_size = p.groups * p.length * p.length;
  w.sums = scratch.get<double>(Use::sums, w.lanes * w.sums_size);
  const SumsSpace space{w.sums, w.lanes, p.groups, p.length, p.bias, p.n * p.out_h * p.out_w};
  const double operations = p.cost * static_cast<double>(p.n * p.groups);
  if (w.lanes >= omp_get_max_threads())
    return sum_by_lanes(space, operations, [&](std::int64_t lane) { run_lane(w, lane); });
  float* staged = room_for(w, std::min(p.n, w.lanes * api::kSampleBlock), 0);
  return sum_in_team(space, operations, [&] { run_rounds(w, staged); });
}

}  // namespace isaribi::simd
