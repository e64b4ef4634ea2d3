// SPDX-License-Identifier: MIT
// Weight gradients of layers with many channels. The vectors of a tile run along the input channels
// and its rows along the output channels, so that sums lie as dw does, [O][tap][C]; only the pixels
// that a tap meets inside the image are visited, so that nothing is padded. Of few channels,
// neighbouring taps are taken together where all of them lie inside and cut into equal tiles; of
// 1 x 1 layers with more outputs than inputs the two change places. Images are taken in strips of
// some hundred pixels: dy in panels of a tile's rows, x in panels of a tile's columns (where it is
// wider), both laid for the caches: a stride of a power of two would make all pixels share a few
// sets of them.
#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "backends/simd/conv_weights.hpp"
#include "backends/simd/gemm.hpp"
#include "backends/simd/parallel.hpp"

namespace isaribi::simd {
namespace {

// Pixels of a strip decide where sums are cut: the same on every machine.
constexpr std::int64_t kStripPixels = 512;
constexpr std::int64_t kLine = 16;             // elements of a cache line
constexpr std::int64_t kMostLines = 8;         // fetched per turn
constexpr std::int64_t kFewest = 16;           // channels
constexpr std::int64_t kDirectChannels = 256;  // of a 1 x 1 layer

/// Neighbouring taps of a row of the kernel, for the output columns where all lie inside the image:
/// of their channels, one tap after the other from `first` on, `elements` behind `skip`.
struct Taps {
  std::int64_t first, skip, elements;
  Range columns;
  const WeightPixel* pixels = nullptr;  // [strip_rows][columns]

  std::int64_t width() const { return columns.end - columns.begin; }
};

/// The layer, and how it is cut.
struct Layer {
  const float *x, *dy;
  std::int64_t n, h, w, c, p, q, o, kh, kw;
  api::ConvGeometry g;
  std::int64_t width, height, padded_c, k;  // k: elements of one row of sums
  std::int64_t strip_rows, images;
  std::int64_t lines_ahead;  // fetched per turn of a tile, for all tiles to fetch the next strip
  bool x_direct, dy_direct;  // read where it lies: narrow, or used too few times to pay for a copy
  bool transposed;           // x and dy have changed places: sums are [C][O]
  std::vector<Taps> taps;    // of each row of the kernel

  std::int64_t x_pixel() const { return x_direct ? c : width; }
  std::int64_t dy_pixel() const { return dy_direct ? o : height; }
  std::int64_t in_begin(std::int64_t row) const {
    return std::max<std::int64_t>(0, row * g.stride_h - g.pad_top);
  }
  std::int64_t in_end(std::int64_t row) const {  // of the rows before output row `row`
    return std::clamp<std::int64_t>(
        (row - 1) * g.stride_h - g.pad_top + (kh - 1) * g.dilation_h + 1, 0, h);
  }
};

/// Images [n, n + images), output rows [first, first + rows); where x and dy of them lie.
struct Strip {
  std::int64_t n, images, first, rows;
  const float* x;  // input rows from `in`
  std::int64_t in, x_panel, x_image;
  const float* dy;
  std::int64_t dy_panel, dy_image;
};

/// Memory that the next strip reads, fetched tile by tile while this one is multiplied.
struct Ahead {
  const float *at, *end, *then, *then_end;

  const float* take(std::int64_t lines) {
    if (at >= end) {
      at = then;
      end = then_end;
      then_end = then;
    }
    if (at >= end) return nullptr;
    const float* taken = at;
    at += std::min(kLine * lines, end - at);
    return taken;
  }
};

/// As much beyond the strip as the strip itself.
Ahead ahead_of(const Layer& l, const Strip& s) {
  const std::int64_t dy_row = l.q * l.o, x_row = l.w * l.c;
  const std::int64_t dy_rows = s.images > 1 ? s.images * l.p : s.rows;
  const std::int64_t x_rows = s.images > 1 ? s.images * l.h : s.rows * l.g.stride_h;
  const std::int64_t dy_at = (s.n * l.p + s.first) + dy_rows;
  const std::int64_t x_at =
      s.n * l.h + (s.images > 1 ? x_rows : std::min(l.h, l.in_end(s.first + s.rows)));
  return {l.dy + dy_at * dy_row, l.dy + std::min(l.n * l.p, dy_at + dy_rows) * dy_row,
          l.x + x_at * x_row, l.x + std::min(l.n * l.h, x_at + x_rows) * x_row};
}

/// Outputs of [begin, end) along one axis whose tap, `shift` = tap dilation - pad, lies inside.
Range inside(std::int64_t begin, std::int64_t end, std::int64_t shift, std::int64_t stride,
             std::int64_t extent) {
  const std::int64_t first = shift >= 0 ? 0 : (-shift + stride - 1) / stride;
  const std::int64_t last = extent - 1 - shift;
  return {std::max(begin, first), last < 0 ? begin : std::min(end, last / stride + 1)};
}

/// Cuts the taps of a row of the kernel into groups of `together` and these into tiles of up to
/// `most` elements. A column at the border that not all of a group reach makes a group of those
/// that do.
std::vector<Taps> cut_taps(const Layer& l, std::int64_t together, std::int64_t most,
                           std::int64_t lanes) {
  const auto columns_of = [&](std::int64_t tap) {
    return inside(0, l.q, tap * l.g.dilation_w - l.g.pad_left, l.g.stride_w, l.w);
  };
  std::vector<Taps> taps;
  const auto add = [&](std::int64_t first, std::int64_t count, Range columns) {
    const std::int64_t all = count * l.width, tiles = (all + most - 1) / most;
    for (std::int64_t t = 0; t < tiles; ++t) {
      const std::int64_t skip = all / lanes * t / tiles * lanes;
      taps.push_back({first, skip, all / lanes * (t + 1) / tiles * lanes - skip, columns});
    }
  };
  for (std::int64_t first = 0; first < l.kw; first += together) {
    const std::int64_t end = std::min(first + together, l.kw);
    Range all = columns_of(first), any = all;
    for (std::int64_t tap = first + 1; tap < end; ++tap) {
      const Range own = columns_of(tap);
      all = {std::max(all.begin, own.begin), std::min(all.end, own.end)};
      any = {std::min(any.begin, own.begin), std::max(any.end, own.end)};
    }
    if (all.begin < all.end) add(first, end - first, all);
    for (std::int64_t column = any.begin; column < any.end; ++column) {
      if (column >= all.begin && column < all.end) continue;
      std::int64_t reached = first, count = 0;
      for (std::int64_t tap = first; tap < end; ++tap) {
        const Range own = columns_of(tap);
        if (column < own.begin || column >= own.end) continue;
        if (count++ == 0) reached = tap;
      }
      if (count > 0) add(reached, count, {column, column + 1});
    }
  }
  return taps;
}

/// Lists the pixels of all taps, once for those of as many columns.
void list_taps(Layer& l, Scratch& scratch) {
  const std::int64_t most = l.strip_rows * l.q;
  auto* at = scratch.get<WeightPixel>(Use::channels, most * std::ssize(l.taps));
  for (Taps& taps : l.taps) {
    const auto same = std::find_if(l.taps.begin(), l.taps.end(), [&](const Taps& other) {
      return other.pixels && other.width() == taps.width();
    });
    if (same != l.taps.end()) {
      taps.pixels = same->pixels;
      continue;
    }
    taps.pixels = at;
    // The tile's single elements are those of dy here.
    at = list_pixels(l.strip_rows, taps.width(), {l.q * l.dy_pixel(), l.dy_pixel()},
                     {l.g.stride_h * l.w * l.x_pixel(), l.g.stride_w * l.x_pixel()}, at);
  }
}

void load_strip(const Layer& l, const Kernels& kernels, float* x, float* dy, Strip& s) {
  s.in = l.in_begin(s.first);
  const std::int64_t in_rows = std::max<std::int64_t>(0, l.in_end(s.first + s.rows) - s.in);
  const std::int64_t pixels = in_rows * l.w, out_pixels = s.rows * l.q;
  s.x = l.x + (s.n * l.h + s.in) * l.w * l.c;
  s.x_image = l.h * l.w * l.c;
  s.x_panel = l.width;
  if (!l.x_direct) {
    s.x_image = pixels * l.width;
    s.x_panel = s.images * s.x_image + 16;
    for (std::int64_t i = 0; i < s.images; ++i)
      kernels.gemm_pack(
          {s.x + i * l.h * l.w * l.c, 1, l.c, l.c, pixels, l.width, s.x_panel, x + i * s.x_image});
    s.x = x;
  }
  if (l.dy_direct) {
    s.dy = l.dy + (s.n * l.p + s.first) * l.q * l.o;
    s.dy_image = l.p * l.q * l.o;
    s.dy_panel = l.height;
    return;
  }
  s.dy_image = out_pixels * l.height;
  s.dy_panel = s.images * s.dy_image + 16;
  for (std::int64_t i = 0; i < s.images; ++i)
    kernels.gemm_pack({l.dy + ((s.n + i) * l.p + s.first) * l.q * l.o, 1, l.o, l.o, out_pixels,
                       l.height, s.dy_panel, dy + i * s.dy_image});
  s.dy = dy;
}

/// Adds the products of one strip to the tile of outputs [o, o + height) and panel `c` of inputs.
void add_taps(const Layer& l, const Kernels& kernels, const Strip& s, std::int64_t o,
              std::int64_t c, std::int64_t r, const Taps& taps, Ahead& ahead, float* acc) {
  const std::int64_t down = r * l.g.dilation_h - l.g.pad_top,
                     right = taps.first * l.g.dilation_w - l.g.pad_left;
  const Range rows = inside(s.first, s.first + s.rows, down, l.g.stride_h, l.h);
  if (rows.begin >= rows.end) return;
  WeightTile t{};
  t.x = s.dy + o / l.height * s.dy_panel +
        ((rows.begin - s.first) * l.q + taps.columns.begin) * l.dy_pixel();
  t.x_image = s.dy_image;
  t.dy = s.x + c / l.width * s.x_panel +
         ((rows.begin * l.g.stride_h + down - s.in) * l.w + taps.columns.begin * l.g.stride_w +
          right) *
             l.x_pixel() +
         taps.skip;
  t.dy_image = s.x_image;
  t.images = s.images;
  t.pixels = (rows.end - rows.begin) * taps.width();
  t.at = taps.pixels;
  t.runs = 1;
  t.run = static_cast<int>(std::min(l.height, l.o - o));
  t.channels = static_cast<int>(taps.elements - std::max<std::int64_t>(0, c + l.width - l.c));
  t.vectors = (t.channels + kernels.lanes - 1) / kernels.lanes;
  t.acc = acc + o * l.k + (r * l.kw + taps.first) * l.padded_c + c + taps.skip;
  t.acc_step = l.k;
  t.ahead_lines = static_cast<int>(l.lines_ahead);
  t.ahead = ahead.take(t.images * (t.pixels / kSteps) * l.lines_ahead);
  kernels.weight_tile(t);
}

/// The gradient of samples [begin, end), every `slices`-th panel of outputs.
void run_block(const Layer& l, const Kernels& kernels, Range samples, int slice, int slices,
               float* x, float* dy, float* acc) {
  for (std::int64_t n = samples.begin; n < samples.end; n += l.images) {
    for (std::int64_t first = 0; first < l.p; first += l.strip_rows) {
      Strip s{};
      s.n = n;
      s.images = std::min(l.images, samples.end - n);
      s.first = first;
      s.rows = std::min(l.strip_rows, l.p - first);
      load_strip(l, kernels, x, dy, s);
      Ahead ahead = ahead_of(l, s);
      for (std::int64_t c = 0; c < l.c; c += l.width) {
        for (std::int64_t o = slice * l.height; o < l.o; o += slices * l.height) {
          for (std::int64_t r = 0; r < l.kh; ++r) {
            for (const Taps& taps : l.taps) add_taps(l, kernels, s, o, c, r, taps, ahead, acc);
          }
        }
      }
    }
  }
}

/// Whether the layer is taken as a product over pixels, which packs for less: 1 x 1 of channels too
/// many to be read where they lie, without padding, rows of input pixels evenly apart.
bool is_product(const Layer& l) {
  return l.kh * l.kw == 1 && !(l.x_direct && l.dy_direct) && l.g.pad_top == 0 &&
         l.g.pad_left == 0 && l.h == l.p * l.g.stride_h && (l.q - 1) * l.g.stride_w < l.w;
}

/// dw of samples [begin, end) as dy^T x.
Product product_of(const Layer& l, Range samples, float* dw) {
  Product p{};
  p.m = l.o;
  p.n = l.c;
  p.k = (samples.end - samples.begin) * l.p * l.q;
  p.a = {l.dy + samples.begin * l.p * l.q * l.o, 1, l.o};
  p.b = {l.x + samples.begin * l.h * l.w * l.c, l.g.stride_w * l.c, 1};
  if (l.g.stride_h > 1 || l.w != l.q) {
    p.b.run = l.q;
    p.b.run_step = l.g.stride_h * l.w * l.c;
  }
  p.c = dw;
  p.c_row = l.padded_c;
  return p;
}

Layer layer_of(const api::ConvBackwardWeights& args, const Kernels& kernels) {
  const core::Shape &x = args.x.shape(), &dw = args.dw.shape(), &dy = args.dy.shape();
  Layer l{};
  l.x = args.x.data<float>();
  l.dy = args.dy.data<float>();
  l.n = x[0], l.h = x[1], l.w = x[2], l.c = x[3];
  l.p = dy[1], l.q = dy[2], l.o = dy[3];
  l.kh = dw[1], l.kw = dw[2];
  l.g = args.geometry;
  // The side of fewer channels is the one of which single elements are read.
  l.transposed = l.kh * l.kw == 1 && l.g.stride_h == 1 && l.g.stride_w == 1 && l.g.pad_top == 0 &&
                 l.g.pad_left == 0 && l.h == l.p && l.w == l.q && l.o > l.c;
  if (l.transposed) {
    std::swap(l.x, l.dy);
    std::swap(l.c, l.o);
  }
  const std::int64_t all = (l.c + kernels.lanes - 1) / kernels.lanes;
  // Panels of nearly equal width and height: a small one at the end would wait for its few sums.
  // Of 1 x 1 layers, which read x and dy once per tile, tiles are as high as can be.
  const bool fours =
      l.kh * l.kw > 1 && all % kernels.gemm_vectors != 0 && all % kMaxPanelVectors == 0;
  const std::int64_t most_vectors = fours ? kMaxPanelVectors : kernels.gemm_vectors;
  const std::int64_t across = (all + most_vectors - 1) / most_vectors;
  const std::int64_t vectors = (all + across - 1) / across;
  l.width = vectors * kernels.lanes;
  const bool follow = l.g.dilation_w == 1 && l.c == l.width;  // taps, in x and in the sums
  const std::int64_t fit = follow ? most_vectors / vectors : 1;
  const std::int64_t groups = (l.kw + fit - 1) / fit;
  std::int64_t together = (l.kw + groups - 1) / groups;
  std::int64_t wide = together * vectors;  // of a tile
  // All taps of a row together, where that makes equal tiles of unequal ones.
  const std::int64_t row = l.kw * vectors;
  if (l.kw % groups != 0 && row % groups == 0 && row / groups <= kernels.gemm_vectors) {
    together = l.kw;
    wide = row / groups;
  }
  l.taps = cut_taps(l, together, wide * kernels.lanes, kernels.lanes);
  const std::int64_t most = kernels.outer_rows[wide];
  const std::int64_t panels = (l.o + most - 1) / most;
  l.height = (l.o + panels - 1) / panels;
  l.padded_c = all * kernels.lanes;
  l.k = l.kh * l.kw * l.padded_c;
  const std::int64_t pixels = std::max<std::int64_t>(1, l.p * l.q);
  const std::int64_t strips = (pixels + kStripPixels - 1) / kStripPixels;
  l.strip_rows = std::max<std::int64_t>(1, (l.p + strips - 1) / strips);
  l.x_direct = l.c <= l.width || (l.kh * l.kw == 1 && l.c <= kDirectChannels);
  l.dy_direct = l.kh * l.kw == 1 && l.o <= kDirectChannels;
  l.images = std::clamp<std::int64_t>(kStripPixels / pixels, 1, api::kSampleBlock);
  const std::int64_t tiles = across * panels * l.kh * std::ssize(l.taps);
  const std::int64_t turns = std::max<std::int64_t>(1, tiles * l.strip_rows * l.q / kSteps);
  const std::int64_t lines = l.strip_rows * (l.q * l.o + l.g.stride_h * l.w * l.c) / kLine;
  l.lines_ahead = std::clamp<std::int64_t>((lines + turns - 1) / turns, 1, kMostLines);
  return l;
}

/// dw from sums of the same order or the transposed one, without the padding of the channels.
template <typename T>
void store_gradient(const Layer& l, const double* sums, T* dw, bool accumulate) {
  const std::int64_t columns = l.transposed ? l.o : l.c;
  const std::int64_t rows = l.transposed ? l.c : l.o * l.kh * l.kw;
  const std::int64_t row = l.transposed ? 1 : l.padded_c, column = l.transposed ? l.padded_c : 1;
  parallel_ranges(rows, rows * columns, 1, [&](Range r) {
    for (std::int64_t j = r.begin; j < r.end; ++j) {
      T* to = dw + j * columns;
      for (std::int64_t i = 0; i < columns; ++i) {
        const double sum = sums[j * row + i * column];
        to[i] = accumulate ? static_cast<T>(static_cast<double>(to[i]) + sum) : static_cast<T>(sum);
      }
    }
  });
}

}  // namespace

bool run_wide_weights(const api::ConvBackwardWeights& args, Context& context) {
  const Kernels& kernels = context.kernels();
  const std::int64_t in = args.x.shape()[3], out = args.dy.shape()[3];
  const bool point = args.dw.shape()[1] * args.dw.shape()[2] == 1;
  const bool many = in >= 2 * kFewest || in % kFewest == 0 || point;
  if (args.geometry.groups != 1 || in < kFewest || out < kFewest || !many) return false;
  Layer l = layer_of(args, kernels);
  Scratch& scratch = context.ready();
  list_taps(l, scratch);
  const std::int64_t elements = l.o * l.k;
  const std::int64_t blocks = (l.n + api::kSampleBlock - 1) / api::kSampleBlock;
  const std::int64_t panels = (l.o + l.height - 1) / l.height;
  const int threads = omp_get_max_threads();
  const int slices = static_cast<int>(
      std::clamp<std::int64_t>(threads / std::max<std::int64_t>(1, blocks), 1, panels));
  const std::int64_t together = std::max(1, threads / slices);  // blocks per round
  const bool product = is_product(l);
  const bool f64 = args.dw.dtype() == core::DType::f64;
  const bool in_place = f64 && !args.accumulate && l.padded_c == l.c && !l.transposed;
  double* sums = in_place ? args.dw.data<double>() : scratch.get<double>(Use::sums, elements);
  float* partial = scratch.get<float>(Use::partial, together * elements);
  const std::int64_t in_rows = (l.strip_rows - 1) * l.g.stride_h + (l.kh - 1) * l.g.dilation_h + 1;
  const std::int64_t columns = (l.c + l.width - 1) / l.width;
  const std::int64_t x_elements =
      !l.x_direct ? columns * (l.images * std::min(in_rows, l.h) * l.w * l.width + 16) : 0;
  const std::int64_t dy_elements =
      l.dy_direct ? 0 : panels * (l.images * l.strip_rows * l.q * l.height + 16);
  if (blocks == 0) std::fill(sums, sums + elements, 0.0);

  for (std::int64_t round = 0; round < blocks; round += together) {
    const std::int64_t count = std::min(together, blocks - round);
#pragma omp parallel
    {
      const int thread = omp_get_thread_num(), team = omp_get_num_threads();
      float* x = scratch.get<float>(Use::strip, x_elements, thread);
      float* dy = scratch.get<float>(Use::weights, dy_elements, thread);
      const Range clear = share(count * elements, thread, team, 16);
      if (!product || l.padded_c > l.c)
        std::memset(partial + clear.begin, 0,
                    static_cast<std::size_t>(clear.end - clear.begin) * sizeof(float));
#pragma omp barrier
      for (std::int64_t item = thread; item < count * slices; item += team) {
        const std::int64_t block = item / slices, n = (round + block) * api::kSampleBlock;
        if (product) {
          multiply_share(
              product_of(l, {n, std::min(l.n, n + api::kSampleBlock)}, partial + block * elements),
              context, static_cast<int>(item % slices), slices);
          continue;
        }
        run_block(l, kernels, {n, std::min(l.n, n + api::kSampleBlock)},
                  static_cast<int>(item % slices), slices, x, dy, partial + block * elements);
      }
#pragma omp barrier
      const Range r = share(elements, thread, team, 16);
      for (std::int64_t b = 0; b < count; ++b)
        kernels.add_in_double(partial + b * elements + r.begin, sums + r.begin, r.end - r.begin,
                              round + b > 0);
    }
  }
  if (!in_place && f64) store_gradient(l, sums, args.dw.data<double>(), args.accumulate);
  if (!f64) store_gradient(l, sums, args.dw.data<float>(), args.accumulate);
  return true;
}

}  // namespace isaribi::simd
