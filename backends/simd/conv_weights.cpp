// SPDX-License-Identifier: MIT
// Weight gradients. One item of work is a block of kSampleBlock samples: its gradient is summed in
// f32 into a private [K, O] array (K = taps x input channels), image group by image group; rounds
// of blocks are then added in f64 in the order of the blocks. The arithmetic depends on neither
// the number of threads nor, beyond f64 additions, the number of ranks. With more threads than
// blocks, several threads share the tiles of one block, or its groups.
#include "backends/simd/conv_weights.hpp"

#include <algorithm>
#include <cstring>

#include "backends/simd/conv.hpp"
#include "backends/simd/norm.hpp"
#include "backends/simd/parallel.hpp"

namespace isaribi::simd {
namespace {

constexpr std::int64_t kStripElements = 24 << 10;

/// A piece of the weight gradient: `runs` runs of `run` consecutive elements of K.
struct Piece {
  std::int64_t offset;    // first element in the padded input, relative to the pixel's origin
  std::int64_t k;         // its row in the accumulator
  std::int64_t run_step;  // between runs, in the input; in K they follow each other
  int runs, run;
};

struct Weights {
  const ConvWork& work;
  const float* dy;
  std::int64_t p, q, o;             // extents of dy
  bool gathered = false;            // x and dy of one group at a time are copied
  std::int64_t x_c = 0, dy_c = 0;   // channels from pixel to pixel of what tiles read
  std::int64_t k = 0, group_o = 0;  // accumulator per group: [k, padded_o]
  std::int64_t padded_o = 0;
  int vectors = 1;
  std::int64_t strip_rows = 0;          // output rows per strip
  std::int64_t images = 1;              // images per strip, > 1 only when whole images fit
  std::int64_t in_rows = 0;             // padded input rows per strip
  const WeightPixel* pixels = nullptr;  // [strip_rows][q]
};

/// Whether to copy what one group reads costs less than to read it where it lies, pixels so far
/// apart that they share sets of the caches: each line that is copied must meet many multiply-adds.
bool worth_gathering(const Weights& w) {
  constexpr std::int64_t kFarApart = 256, kProducts = 800;
  const ConvWork& work = w.work;
  const auto lines = [](std::int64_t channels) { return (channels + 15) / 16; };
  const std::int64_t copied =
      work.in_step_h * work.in_step_w * lines(work.group_in) + lines(w.group_o);
  return work.groups > 1 && work.c >= kFarApart && w.k * w.group_o >= kProducts * copied;
}

int choose_vectors(const Kernels& k, std::int64_t channels) {
  const auto all = static_cast<int>((channels + k.lanes - 1) / k.lanes);
  if (all <= 3) return all;
  return all % 3 == 0 && all % 2 != 0 ? 3 : 2;
}

/// Cuts the runs of taps into register tiles.
void cut_pieces(const Kernels& kernels, const Weights& w, std::int64_t kh, std::int64_t kw,
                const api::ConvGeometry& g, std::vector<Piece>& pieces) {
  const ConvWork& work = w.work;
  const bool merge = g.dilation_w == 1 && w.x_c == work.group_in;
  const std::int64_t per_row = merge ? 1 : kw, length = merge ? kw * work.group_in : work.group_in;
  const std::int64_t row_step = g.dilation_h * work.padded_w() * w.x_c;
  pieces.clear();
  if (merge && kh > 1 && length <= 8) {  // few channels: several kernel rows per tile
    for (std::int64_t together = kh; together > 1; --together) {
      if (!kernels.weight_pair(static_cast<int>(together), static_cast<int>(length), w.vectors)) {
        continue;
      }
      std::int64_t r = 0;
      for (; r + together <= kh; r += together) {
        pieces.push_back({r * row_step, r * length, row_step, static_cast<int>(together),
                          static_cast<int>(length)});
      }
      for (; r < kh; ++r) {
        pieces.push_back({r * row_step, r * length, 0, 1, static_cast<int>(length)});
      }
      return;
    }
  }
  const std::int64_t most = kernels.outer_rows[w.vectors];
  const std::int64_t parts = (length + most - 1) / most;
  for (std::int64_t r = 0; r < kh; ++r) {
    for (std::int64_t s = 0; s < per_row; ++s) {
      for (std::int64_t part = 0; part < parts; ++part) {
        const std::int64_t begin = length * part / parts, end = length * (part + 1) / parts;
        pieces.push_back({r * row_step + s * g.dilation_w * w.x_c + begin,
                          (r * per_row + s) * length + begin, 0, 1, static_cast<int>(end - begin)});
      }
    }
  }
}

/// A strip: rows [first, first + rows) of the gradients of images [n, n + images).
struct Strip {
  std::int64_t n, images, first, rows;
};

/// Where tiles read.
struct Place {
  const float *x, *dy;  // of the first group, unless one is gathered
  std::int64_t x_image, dy_image;
};

/// Adds the gradient of one group of a strip to acc: every slices-th tile, another one first in
/// each group, so that groups of few tiles are shared evenly.
void run_group(const Kernels& kernels, const Weights& w, const std::vector<Piece>& pieces,
               const Strip& strip, const Place& place, std::int64_t g, int slice, int slices,
               float* acc) {
  WeightTile t{};
  t.x_image = place.x_image;
  t.dy_image = place.dy_image;
  t.images = strip.images;
  t.pixels = strip.rows * w.q;
  t.at = w.pixels;
  t.acc_step = w.padded_o;
  const std::int64_t width = static_cast<std::int64_t>(w.vectors) * kernels.lanes;
  std::int64_t tile = g;
  for (std::int64_t o = 0; o < w.group_o; o += width) {
    t.channels = static_cast<int>(std::min(width, w.group_o - o));
    t.vectors = (t.channels + kernels.lanes - 1) / kernels.lanes;
    t.dy = place.dy + o;
    for (const Piece& piece : pieces) {
      if (tile++ % slices != slice) continue;
      t.x = place.x + piece.offset;
      t.run_step = piece.run_step;
      t.runs = piece.runs;
      t.run = piece.run;
      t.acc = acc + (g * w.k + piece.k) * w.padded_o + o;
      t.acc_run = piece.run * w.padded_o;
      kernels.weight_tile(t);
    }
  }
}

/// Copies the channels of group g that a strip reads of x and dy.
Place gather(const Weights& w, const Strip& strip, std::int64_t g, float* to) {
  const ConvWork& work = w.work;
  const std::int64_t x_image = w.in_rows * work.padded_w() * w.x_c,
                     dy_image = strip.rows * w.q * w.dy_c;
  const Place place{to, to + strip.images * x_image, x_image, dy_image};
  const std::int64_t image = work.h * work.w * work.c;
  for (std::int64_t i = 0; i < strip.images; ++i, to += x_image)
    pad_rows(work, work.x + (strip.n + i) * image + g * work.group_in, strip.first * work.in_step_h,
             w.in_rows, w.x_c, w.x_c, to);
  const float* from = w.dy + (strip.n * w.p + strip.first) * w.q * w.o + g * w.group_o;
  for (std::int64_t i = 0; i < strip.images; ++i) {
    for (std::int64_t pixel = 0; pixel < strip.rows * w.q; ++pixel, to += w.dy_c)
      std::copy_n(from + (i * w.p * w.q + pixel) * w.o, w.dy_c, to);
  }
  return place;
}

/// Where a strip lies, padded where it must be.
Place place_of(const Weights& w, const Strip& strip, float* buffer) {
  const ConvWork& work = w.work;
  const std::int64_t image_elements = work.h * work.w * work.c;
  const std::int64_t row_elements = work.padded_w() * work.c;
  const std::int64_t from = strip.first * work.in_step_h;
  Place place{work.x + strip.n * image_elements + from * row_elements,
              w.dy + (strip.n * w.p + strip.first) * w.q * w.o, image_elements, w.p * w.q * w.o};
  if (work.padded()) {
    const std::int64_t in_rows = std::min(w.in_rows, work.lead_h + work.h + work.tail_h - from);
    place.x = buffer;
    place.x_image = w.in_rows * row_elements;
    for (std::int64_t i = 0; i < strip.images; ++i)
      pad_rows(work, work.x + (strip.n + i) * image_elements, from, in_rows, work.c, work.c,
               buffer + i * place.x_image);
  }
  return place;
}

/// The gradient of samples [begin, end) into acc.
void run_block(const Kernels& kernels, const Weights& w, const std::vector<Piece>& pieces,
               std::int64_t begin, std::int64_t end, int slice, int slices, float* buffer,
               float* acc) {
  const std::int64_t groups = w.work.groups;
  for (std::int64_t n = begin; n < end; n += w.images) {
    const std::int64_t images = std::min(w.images, end - n);
    for (std::int64_t first = 0; first < w.p; first += w.strip_rows) {
      const Strip strip{n, images, first, std::min(w.strip_rows, w.p - first)};
      if (w.gathered) {
        for (std::int64_t g = slice; g < groups; g += slices)
          run_group(kernels, w, pieces, strip, gather(w, strip, g, buffer), g, 0, 1, acc);
        continue;
      }
      Place place = place_of(w, strip, buffer);
      for (std::int64_t g = 0; g < groups; ++g) {
        run_group(kernels, w, pieces, strip, place, g, slice, slices, acc);
        place.x += w.work.group_in;
        place.dy += w.group_o;
      }
    }
  }
}

/// dw (OHWI, f32 or f64) from sums [group][k][padded_o].
template <typename T>
void store_gradient(const Weights& w, const double* sums, T* dw, bool accumulate) {
  const std::int64_t groups = w.work.groups;
  parallel_ranges(groups * w.group_o, groups * w.group_o * w.k, 1, [&](Range r) {
    for (std::int64_t j = r.begin; j < r.end; ++j) {
      const double* column = sums + (j / w.group_o) * w.k * w.padded_o + j % w.group_o;
      T* out = dw + j * w.k;
      for (std::int64_t k = 0; k < w.k; ++k) {
        const double value = column[k * w.padded_o];
        out[k] = accumulate ? static_cast<T>(static_cast<double>(out[k]) + value)
                            : static_cast<T>(value);
      }
    }
  });
}

}  // namespace

WeightPixel* list_pixels(std::int64_t rows, std::int64_t columns, PixelSteps x, PixelSteps dy,
                         WeightPixel* at) {
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t column = 0; column < columns; ++column)
      *at++ = {static_cast<int>(row * x.row + column * x.pixel),
               static_cast<int>(row * dy.row + column * dy.pixel)};
  }
  return at;
}

void Conv::do_backward_weights(const api::ConvBackwardWeights& args) {
  const core::Shape &x = args.x.shape(), &dw = args.dw.shape(), &dy = args.dy.shape();
  const api::ConvGeometry& g = args.geometry;
  if (!owns(api::Op::conv_backward_weights, args.x.dtype())) {
    context_.fall_back(api::Op::conv_backward_weights, args.x).conv().backward_weights(args);
    return;
  }
  if (run_depthwise_weights(args, context_) || run_wide_weights(args, context_)) {
    if (args.db.defined()) bias_gradient(context_, args.dy, args.db, args.accumulate);
    return;
  }
  ConvWork& k = work_.start();
  k.x = args.x.data<float>();
  k.n = x[0], k.h = x[1], k.w = x[2], k.c = x[3];
  k.lead_h = g.pad_top, k.lead_w = g.pad_left;
  k.tail_h = std::max<std::int64_t>(
      0, (dy[1] - 1) * g.stride_h + (dw[1] - 1) * g.dilation_h + 1 - g.pad_top - x[1]);
  k.tail_w = std::max<std::int64_t>(
      0, (dy[2] - 1) * g.stride_w + (dw[2] - 1) * g.dilation_w + 1 - g.pad_left - x[2]);
  k.in_step_h = g.stride_h, k.in_step_w = g.stride_w;
  k.groups = g.groups;
  k.group_in = dw[3];

  const Kernels& kernels = context_.kernels();
  Scratch& scratch = context_.ready();
  Weights w{.work = k, .dy = args.dy.data<float>(), .p = dy[1], .q = dy[2], .o = dy[3]};
  w.k = dw[1] * dw[2] * dw[3];
  w.group_o = dw[0] / g.groups;
  w.vectors = choose_vectors(kernels, w.group_o);
  w.gathered = worth_gathering(w);
  w.x_c = w.gathered ? k.group_in : k.c;
  w.dy_c = w.gathered ? w.group_o : w.o;
  const std::int64_t width = static_cast<std::int64_t>(w.vectors) * kernels.lanes;
  w.padded_o = (w.group_o + width - 1) / width * width;
  const std::int64_t in_row = k.padded_w() * w.x_c * g.stride_h, out_row = w.q * w.dy_c;
  const std::int64_t fit = std::max<std::int64_t>(1, kStripElements / (in_row + out_row));
  w.strip_rows = std::clamp<std::int64_t>(fit, 1, std::max<std::int64_t>(1, w.p));
  w.strip_rows = (w.p + (w.p + w.strip_rows - 1) / w.strip_rows - 1) /
                 std::max<std::int64_t>(1, (w.p + w.strip_rows - 1) / w.strip_rows);
  w.images = w.strip_rows >= w.p ? std::clamp<std::int64_t>(fit / w.p, 1, api::kSampleBlock) : 1;
  w.in_rows = (w.strip_rows - 1) * g.stride_h + (dw[1] - 1) * g.dilation_h + 1;

  auto* pixels = scratch.get<WeightPixel>(Use::channels, w.strip_rows * w.q);
  list_pixels(w.strip_rows, w.q, {in_row, g.stride_w * w.x_c}, {out_row, w.dy_c}, pixels);
  w.pixels = pixels;
  std::vector<Piece> pieces;
  cut_pieces(kernels, w, dw[1], dw[2], g, pieces);

  const std::int64_t elements = k.groups * w.k * w.padded_o;
  const std::int64_t blocks = (k.n + api::kSampleBlock - 1) / api::kSampleBlock;
  const int threads = omp_get_max_threads();
  const int slices = static_cast<int>(
      std::clamp<std::int64_t>(threads / std::max<std::int64_t>(1, blocks), 1,
                               w.gathered ? g.groups : static_cast<std::int64_t>(pieces.size())));
  const std::int64_t together = std::max(1, threads / slices);  // blocks per round
  double* sums = scratch.get<double>(Use::sums, elements);
  float* partial = scratch.get<float>(Use::partial, together * elements);
  const std::int64_t x_elements = w.in_rows * k.padded_w() * w.x_c;
  const std::int64_t dy_elements = w.gathered ? w.strip_rows * out_row : 0;
  const std::int64_t buffer = w.gathered || k.padded() ? w.images * (x_elements + dy_elements) : 0;
  std::memset(sums, 0, static_cast<std::size_t>(elements) * sizeof(double));

  for (std::int64_t round = 0; round < blocks; round += together) {
    const std::int64_t count = std::min(together, blocks - round);
#pragma omp parallel
    {
      const int thread = omp_get_thread_num(), team = omp_get_num_threads();
      float* strip = scratch.get<float>(Use::strip, buffer, thread);
      const Range clear = share(count * elements, thread, team, 16);
      std::memset(partial + clear.begin, 0,
                  static_cast<std::size_t>(clear.end - clear.begin) * sizeof(float));
#pragma omp barrier
      for (std::int64_t item = thread; item < count * slices; item += team) {
        const std::int64_t block = item / slices, n = (round + block) * api::kSampleBlock;
        const std::int64_t end = std::min(k.n, n + api::kSampleBlock);
        float* acc = partial + block * elements;
        run_block(kernels, w, pieces, n, end, static_cast<int>(item % slices), slices, strip, acc);
      }
#pragma omp barrier
      const Range r = share(elements, thread, team, 8);
      for (std::int64_t b = 0; b < count; ++b) {
        const float* from = partial + b * elements;
        for (std::int64_t i = r.begin; i < r.end; ++i) sums[i] += static_cast<double>(from[i]);
      }
    }
  }
  if (args.dw.dtype() == core::DType::f64) {
    store_gradient(w, sums, args.dw.data<double>(), args.accumulate);
  } else {
    store_gradient(w, sums, args.dw.data<float>(), args.accumulate);
  }
  if (args.db.defined()) {
    bias_gradient(context_, args.dy, args.db, args.accumulate);
  }
}

}  // namespace isaribi::simd
