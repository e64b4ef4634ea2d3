// SPDX-License-Identifier: MIT
// How the second moment of patches is cut into register tiles. These ways give the same sums:
//
// Pair by pair: for taps t = (r, s) and t' = (r', s') the block (t, t') of the factor is the sum
// over output positions of x[at t] x[at t']^T. One tile sums several neighbouring t' at once.
//
// By distance, for stride 1: with h = p - pad + r, that block is the sum over the window
// W_t of pixels (h, w) that tap t sees of x[h, w] x[h + dh, w + dw]^T, where (dh, dw) = t' - t and
// x is 0 outside the image. The summand depends on the distance only, and the windows of different
// t differ only at the border: their edges cut the image into cells. Each cell is summed once per
// distance, and a block is the sum of the cells in its window: 13 distances instead of the 45 pairs
// of a 3 x 3 kernel, and no block is the difference of larger ones. For kernels of three rows the
// largest cells take fewer products still (factor_pairs.hpp).
#pragma once

#include <cstdint>
#include <initializer_list>
#include <vector>

#include "backends/api/factor.hpp"
#include "backends/simd/kernels.hpp"

namespace isaribi::simd {

/// Neighbouring columns of one item: a run of elements `offset` behind the pixel.
struct FactorStrip {
  std::int64_t offset = 0;          ///< of its first element
  std::int64_t dh = 0, dw = 0;      ///< by distance: of element 0 of the run
  std::int64_t column = 0;          ///< pair by pair: column of the factor of element 0 of the run
  std::int64_t begin = 0, end = 0;  ///< elements of the run
  int vectors = 0;
};

/// One register tile: `rows` elements times up to kMaxPanelVectors vectors.
struct FactorItem {
  std::int64_t offset = 0;  ///< of its first row's element, behind the pixel
  std::int64_t row = 0;     ///< of the factor; by distance: for tap 0
  int rows = 0, vectors = 0;
  int strip_count = 0;
  FactorStrip strips[kMaxPanelVectors];
};

/// Neighbouring elements of an item: `vectors` from `begin` on.
struct FactorSpan {
  std::int64_t begin = 0;
  int vectors = 0;
};

/// Items that one thread sums together: a single one, or, where pairs of rows are used, the same
/// tile at three vertical distances, or, of distances to the left, at two.
struct FactorBundle {
  int first = 0, count = 1;
  bool left = false;
};

/// An axis cut at the edges of the windows of all taps.
struct FactorAxis {
  std::vector<std::int64_t> edges;        ///< cell i is [edges[i], edges[i + 1])
  std::vector<std::int64_t> first, last;  ///< cells [first, last) of the window of each tap
  std::int64_t cells() const { return static_cast<std::int64_t>(edges.size()) - 1; }
  /// The one that begins at `edge`.
  std::int64_t cell_at(std::int64_t edge) const;
};

/// An axis of `size` cut at the windows of `taps` taps, `count` long each, and at `more`.
FactorAxis cut_axis(std::int64_t size, std::int64_t taps, std::int64_t dilation, std::int64_t pad,
                    std::int64_t count, std::initializer_list<std::int64_t> more = {});

struct FactorPlan {
  bool by_distance = false;
  bool direct = false;  ///< x is read where it lies, without a padded copy
  std::int64_t n = 0, h = 0, w = 0, channels = 0;
  std::int64_t groups = 1, per = 0, kh = 1, kw = 1, dilation_w = 1, length = 0;
  std::int64_t positions = 0;  ///< of the output
  // The image that tiles read: [per / width, rows, columns, width], beginning `top`, `left` before
  // x. Pixels of many channels would lie so far apart that their lines share sets of the caches.
  std::int64_t width = 0, plane = 0;  ///< channels that lie together; elements from plane to plane
  std::int64_t rows = 0, columns = 0, top = 0, left = 0;
  std::int64_t lead = 0;                                  ///< zeros before the first image
  std::int64_t pixel = 0, row = 0, image = 0, group = 0;  ///< steps between pixels that are summed
  FactorAxis vertical, horizontal;  ///< in pixels that are summed; one cell when pair by pair
  std::vector<FactorAxis> bands;    ///< by distance: `vertical` of the taps with a partner dh below
  /// Pair by pair, the pixels of `listed` samples, in elements behind the first one, where rows are
  /// too short to be loops of their own; else none.
  std::vector<int> pixels;
  std::int64_t listed = 1;
  std::vector<FactorItem> items;
  std::vector<FactorBundle> bundles;
  std::vector<FactorSpan> spans;  ///< [item][horizontal cell]: what is computed of the item
  std::int64_t core = -1;         ///< the vertical cell that is summed by pairs of rows, or -1
  std::int64_t pairs = 0;         ///< of rows in it
  double cost = 0;                ///< vector operations per sample
  std::vector<FactorStrip> runs;  ///< memory of the planning, like tiles: kept between calls
  std::vector<FactorItem> tiles;

  std::int64_t planes() const { return per / width; }
  std::int64_t cells() const { return vertical.cells() * horizontal.cells(); }
  const FactorSpan* spans_of(std::size_t item) const {
    return spans.data() + static_cast<std::ptrdiff_t>(item) * horizontal.cells();
  }
  /// How items of vertical distance `dh` or more are cut.
  const FactorAxis& axis(std::int64_t dh) const {
    return by_distance && core < 0 ? bands[static_cast<std::size_t>(dh)] : vertical;
  }
  /// Rows of a staged image, with those of factor_pairs.hpp.
  std::int64_t all_rows() const;
};

/// Fills `plan` (whose memory is reused) with the cheapest way.
void make_factor_plan(const api::PatchCovariance& args, const Kernels& kernels, FactorPlan& plan);

}  // namespace isaribi::simd
