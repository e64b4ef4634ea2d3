// SPDX-License-Identifier: MIT
// The table of kernels that every ISA level fills, and their arguments: plain structs and function
// pointers, so that the per-ISA units need no library header. Drivers (conv.cpp, norm.cpp, ...)
// own threads, packing and borders; kernels own registers. Counts are elements, not bytes.
#pragma once

#include <stddef.h>

namespace isaribi::simd {

inline constexpr int kMaxPanelVectors = 4;  ///< output channels of one panel: up to 4 vectors
inline constexpr int kMaxTileRows = 16;     ///< of one register tile, at most

/// Steps (of k, of pixels) per turn of a loop. What a step needs beside its FMAs and loads
/// (pointers, count, branch) is instructions that the front end could have spent on FMAs: with two
/// hyperthreads on a core it hands out three per cycle, and a step of 6 x 64 has 24 FMAs for 12
/// cycles.
inline constexpr int kSteps = 4;
/// f32 elements of a page of 4 KiB: rows a multiple of it apart share sets of the caches.
inline constexpr int kPage = 1024;

inline constexpr unsigned char kEdgeFirst = 1, kEdgeLast = 2;

/// Output channels [0, channels) of rows x columns pixels:
/// y[p, q, o] = act(bias[o] + sum_t sum_k x[p x_row + q x_pixel + offset[t] + k] w[t run + k][o]).
/// x must be readable at every tap: drivers pad it.
struct ConvPanel {
  const float* x;
  ptrdiff_t x_row, x_pixel;
  const ptrdiff_t* offset;  ///< [segments]: where each contiguous run of `run` elements starts
  int segments, run;
  /// [segments], or nullptr: kEdgeFirst, kEdgeLast where the first or last pixel of a row reads
  /// padding only, so that its multiplications by zero may be left out.
  const unsigned char* edge;
  const float* w;  ///< [segments * run][vectors * lanes], zero beyond `channels`
  float* y;
  ptrdiff_t y_row, y_pixel;
  ptrdiff_t rows, columns;
  const float* bias;  ///< [vectors * lanes], or nullptr
  int vectors;        ///< 1..kMaxPanelVectors
  int channels;       ///< valid channels, > (vectors - 1) * lanes
  bool relu;
  bool accumulate;  ///< add to y (before bias and relu)
  /// What is read after this panel, to be fetched meanwhile, or nullptr: nothing is fetched.
  const float *ahead, *ahead_end;
};

/// Where a pixel's inputs and output gradients lie, in elements from those of the first one.
struct WeightPixel {
  int x, dy;
};

/// acc[r * acc_run + s * acc_step + o] += sum over images n and pixels i of
/// x[n x_image + at[i].x + r * run_step + s] * dy[n dy_image + at[i].dy + o] for r < runs, s < run,
/// o < channels. Pixels are listed, so that no loop ends where a row does: to leave one takes ten
/// cycles and more, as much as a pixel.
struct WeightTile {
  const float* x;
  ptrdiff_t x_image, run_step;
  const float* dy;
  ptrdiff_t dy_image;
  ptrdiff_t images, pixels;
  const WeightPixel* at;  ///< [pixels]
  float* acc;             ///< full vectors are read and written
  ptrdiff_t acc_run, acc_step;
  int runs, run;  ///< (1, 1..outer_rows) or a pair listed in weight_pair
  int vectors, channels;
  /// What will be read next, or nullptr: from here `ahead_lines` lines per kSteps pixels.
  const float* ahead;
  int ahead_lines;
};

/// Depthwise: tap (r, s) of output pixel (p, q) reads row top + p step_h + r row_step and column
/// first + q step + s tap_step of an image [height, width, channels]; what lies outside adds
/// nothing. Groups have `group` = 2^k <= lanes channels, as many in as out, one if it is depthwise.
/// Weights and sums are [c / lanes][d][r][s][c % lanes], d < group: of input channel c and output
/// channel c ^ d; zeros beyond the channels.
struct DepthwiseRows {
  const float* x;
  ptrdiff_t height, width, channels;
  ptrdiff_t top, step_h, row_step;
  ptrdiff_t first, step, tap_step;
  int rows, taps;  ///< of the kernel
  int group;
  ptrdiff_t columns;   ///< of the output
  const float* ahead;  ///< what will be read next of x, as much as was read new for these rows
};

/// y[p, q, c ^ d] = act(bias[c ^ d] + sum_drs x[c] w[d][r][s][c]) for p < rows.
struct DepthwiseOutput {
  const float* w;
  const float* bias;
  float* y;
  ptrdiff_t y_row, y_pixel;
  ptrdiff_t rows;
  const float* ahead;  ///< the rows of y that will be written next; nothing is read from them
  bool relu;
};

/// acc[d][r][s][c] = (acc +) sum_pq x[c] dy[p, q, c ^ d] for p < rows, channels c in [begin, end).
struct DepthwiseGradient {
  const float* dy;
  ptrdiff_t rows, begin, end;
  float* acc;
  bool add;
  const float* ahead;  ///< what will be read next of dy
};

/// y[w, o] = act(bias[o] + sum_s z[w + s, s channels + o]): the second half of conv_wide.cpp. z is
/// readable up to whole vectors.
struct GatherRow {
  const float* z;
  ptrdiff_t z_pixel;
  int taps, channels;  ///< channels <= lanes
  ptrdiff_t columns;
  const float* bias;  ///< [channels], or nullptr
  float* y;           ///< [columns, channels], `y_pixel` from column to column
  ptrdiff_t y_pixel;
  bool relu;
};

/// Passes over [M, C] with C <= period: the channel parameters are repeated to `period` elements, a
/// multiple of both C and the vector length, so that all vectors are full. `periods` whole periods.
struct ChannelPass {
  const float* x;
  const float* y;   ///< relu mask: y > 0, or nullptr for none
  const float* dy;  ///< backward only
  float* out;
  ptrdiff_t period, periods;
  const float *mean, *scale, *shift;  ///< [period]
  const float* inv_std;               ///< [period]
  double *sum0, *sum1;                ///< [period], out
  bool relu;
};

/// One output row of a pooling window pass over channels. Window taps are given as offsets.
struct PoolRow {
  const float* x;  ///< first tap of the first pixel
  ptrdiff_t x_pixel;
  const ptrdiff_t* offset;  ///< [taps]
  int taps;
  float* y;
  ptrdiff_t columns, channels;
  int* argmax;              ///< max only
  const int* tap_position;  ///< [taps]: h * W + w of each tap for the first pixel
  int position_step;        ///< added per pixel
  float scale;              ///< average only
};

/// dx[pixel * dx_pixel + offset[t] + c] = argmax == position ? dy : 0 for windows that do not
/// overlap.
struct PoolBackwardRow {
  const float* dy;
  const int* argmax;
  float* dx;
  ptrdiff_t dx_pixel;
  const ptrdiff_t* offset;
  const int* tap_position;
  int taps, position_step;
  ptrdiff_t columns, channels;
};

struct Sgd {
  float* w;
  float* velocity;   ///< nullptr without momentum
  const float* g32;  ///< one of g32, g64
  const double* g64;
  ptrdiff_t n;
  float lr, momentum, l2, keep;  ///< keep = 1 - lr decay
  float scale;                   ///< of the gradient
  bool nesterov;
};

struct Adam {
  float *w, *m, *v;
  const float* g32;
  const double* g64;
  ptrdiff_t n;
  float lr, beta1, beta2, rest1, rest2;  ///< rest = 1 - beta
  float epsilon, l2, keep, correct1, correct2;
};

/// Memory that tiles fetch while they multiply: `lines` lines of cache of each of `rows` rows,
/// `row` elements apart, line by line. Tiles move `at` (of the rows) and `line` on.
struct LinesAhead {
  const float* from;
  ptrdiff_t row, rows, lines;
  ptrdiff_t at = 0, line = 0;
};

/// c(i, j) = act(alpha sum_k a(i, k) b[k b_step + j] + beta c(i, j) + bias[j]); beta = 0 does not
/// read c.
struct GemmTile {
  const float* a;           ///< a(i, k) = a[i a_row + k a_step]
  ptrdiff_t a_row, a_step;  ///< one of them is 1
  const float* b;           ///< readable up to whole vectors of columns
  ptrdiff_t b_step;
  float* pack_b;  ///< where to lay b as a panel, [k][columns]: of full tiles only; or nullptr
  ptrdiff_t k;
  float* c;
  ptrdiff_t c_row;
  int rows;     ///< 1 .. tile_rows[vectors of columns]; with a_row = 1 outer_rows
  int columns;  ///< 1 .. kMaxPanelVectors * lanes
  float alpha, beta;
  const float* bias;  ///< [columns], or nullptr
  bool relu;
  /// Sums over k in parts, each as if it followed on the one before: where they start from, or
  /// nullptr, and where they are left instead of in c, or nullptr. Rows of whole vectors.
  const float* from_part;
  float* to_part;
  const float* next_c;  ///< C of a tile that comes soon, in the same distances; or nullptr
  const float* next_a;  ///< rows of A, as long as k, that are read soon, in the same distances; or
                        ///< nullptr. Where k is short, `ahead` is too slow.
  LinesAhead* ahead;    ///< what will be read next, or nullptr: a line per kSteps of k
  /// Of gemm_sums, which uses neither c, alpha, bias, relu, pack_b, next_c nor next_a, and wants
  /// a_row = 1: sums(i, j) = the sum over k, and with beta not 0 plus sums(i, j), up to whole
  /// vectors of columns: in f32 within each `block` of k, in f64 across.
  double* sums;
  ptrdiff_t sums_row, block;
};

/// Panels of `width` lines side by side: panel i / width at `to` + panel (i / width) holds
/// [k][i % width] = from[i across + k along], i < count, and zeros where the last one is not full.
struct PackPanels {
  const float* from;
  ptrdiff_t across, along;  ///< one of them is 1
  ptrdiff_t count, depth;
  ptrdiff_t width;  ///< <= 64
  ptrdiff_t panel;  ///< >= depth width + 7: so much more may be overwritten
  float* to;
};

/// acc[m acc_row + v lanes + l] = (acc +) sum over i of a[i . a_step + m] b[i . b_step + offset[v]
/// + l] for the index triples i < count, m < rows, v < vectors, l < lanes (of the last vector: l <
/// last, else 0).
struct FactorTile {
  const float *a, *b;
  ptrdiff_t count[3], a_step[3], b_step[3];  ///< outermost first
  const int* at;  ///< [count[2]], instead of multiples of the innermost steps, or nullptr;
                  ///< of whole vectors only
  const ptrdiff_t* offset;  ///< [vectors]
  float* acc;
  ptrdiff_t acc_row;  ///< >= vectors * lanes
  int rows;           ///< 1 .. Kernels::outer_rows[vectors]
  int vectors;        ///< 1 .. kMaxPanelVectors
  int last;
  bool add;
};

inline constexpr int kMostFlatChannels = 8;
inline constexpr int kMostFlatSums = 24;  ///< vectors

inline constexpr int kMostColumnShifts = 9;
inline constexpr int kMostColumnPairs = 27;  ///< planes x shifts of a tile, at most

/// acc[(i shifts + j) acc_step + l] = sum over samples and rows of a[.. + i a_plane + l]
/// b[.. + j shift + l], l < lanes.
struct ColumnTile {
  const float *a, *b;
  ptrdiff_t a_image, a_row, a_plane, b_image, b_row, shift;
  ptrdiff_t samples, rows;
  int planes;  ///< 1 .. Kernels::column_planes[shifts]
  int shifts;  ///< 1 .. kMostColumnShifts
  float* acc;
  ptrdiff_t acc_step;
};

/// y[i lanes + s] = sum over columns w of x[i x_step + w] seen[w lanes + s], i < count, s < lanes.
struct ColumnWindows {
  const float* x;
  ptrdiff_t x_step, count, columns;
  const float* seen;
  float* y;
};

inline constexpr int kTriangle = 64;  ///< rows of a diagonal block of Cholesky, at most

/// A diagonal block: element (i, j), j <= i, is a[i a_row + j].
struct TriangleBlock {
  float* a;
  ptrdiff_t a_row, n;  ///< n <= kTriangle
  float* inverse;      ///< [n][kTriangle], 0 above the diagonal: of invert_triangle only
};

/// How elements travel as f32, bf16, f16, in this order; unaligned.
struct WireKernels {
  void (*narrow[3])(const void* x, void* wire, ptrdiff_t n);
  void (*widen[3])(const void* wire, void* x, ptrdiff_t n);
};

/// Everything one ISA level offers.
struct Kernels {
  const char* isa;
  int lanes;
  int tile_rows[kMaxPanelVectors + 1];  ///< pixels per register tile for 1..4 vectors
  /// The same of outer products, a tile of neighbouring elements by vectors: no row needs an
  /// address of its own, so there may be more.
  int outer_rows[kMaxPanelVectors + 1];
  int gemm_vectors;  ///< of a full panel of B: its tile is tile_rows[gemm_vectors] high
  int gemm_depth;    ///< of a block, at most (plan_of)
  void (*gemm_tile)(const GemmTile&);
  void (*gemm_sums)(const GemmTile&);
  void (*gemm_pack)(const PackPanels&);
  /// to[k to_step + i] = from[i from_step + k] for i < 8, k < depth.
  void (*transpose_eight)(const float* from, ptrdiff_t from_step, ptrdiff_t depth,
                          ptrdiff_t to_step, float* to);
  const float* (*conv_panel)(const ConvPanel&);  ///< returns how far it fetched from `ahead`
  void (*gather_row)(const GatherRow&);
  void (*weight_tile)(const WeightTile&);
  /// Whether weight_tile has a kernel for `runs` > 1 runs of `run` elements and `vectors`.
  bool (*weight_pair)(int runs, int run, int vectors);
  void (*depthwise_output)(const DepthwiseRows&, const DepthwiseOutput&);
  void (*depthwise_gradient)(const DepthwiseRows&, const DepthwiseGradient&);
  /// Whether there are tiles for these taps. Without, outputs are formed one by one, for which
  /// groups are too slow; gradients of groups need them.
  bool (*depthwise_tiled)(const DepthwiseRows&);
  bool (*depthwise_gradient_tiled)(const DepthwiseRows&);

  /// a = L with L L^T = a; k > 0 when pivot k (from 1) is not positive, a is then as it was.
  int (*cholesky_block)(const TriangleBlock&);
  /// inverse = L^-1; k > 0 when element k (from 1) of the diagonal is 0.
  int (*invert_triangle)(const TriangleBlock&);

  void (*factor_tile)(const FactorTile&);
  int flat_vectors[kMostFlatChannels + 1];  ///< lcm(C, lanes) / lanes, 0: no kernel of C channels
  /// sums[v][d][l] = the sum over periods p of x[i] x[i + d], i = (p V + v) lanes + l, for v < V =
  /// flat_vectors[C], d < C, l < lanes. Reads one vector more.
  void (*flat_products)(const float* x, int channels, ptrdiff_t periods, float* sums);
  /// Sums and differences of rows x, x + row, .. x + 3 row, as factor_pairs.hpp names them.
  void (*pair_rows)(const float* x, ptrdiff_t row, float* out, ptrdiff_t step);
  /// to[w to_step + i] = the sum of x[c step + i] over c in [first[w], last[w]), in their order,
  /// for i < n, whole vectors.
  void (*sum_windows)(const float* x, ptrdiff_t step, const ptrdiff_t* first, const ptrdiff_t* last,
                      ptrdiff_t windows, float* to, ptrdiff_t to_step, ptrdiff_t n);
  /// y += x, [rows, n].
  void (*widen_add)(const float* x, ptrdiff_t x_row, double* y, ptrdiff_t y_row, ptrdiff_t rows,
                    ptrdiff_t n);
  int column_planes[kMostColumnShifts + 1];  ///< of a tile of so many shifts
  void (*column_tile)(const ColumnTile&);
  void (*column_windows)(const ColumnWindows&);
  /// Row by row of one channel of x, [rows, width, step]: to = a vector of zeros, the row, zeros to
  /// whole vectors.
  void (*stage_rows)(const float* x, ptrdiff_t step, ptrdiff_t rows, ptrdiff_t width, float* to);

  void (*bn_statistics)(const ChannelPass&);
  void (*bn_normalize)(const ChannelPass&);
  void (*bn_backward_reduce)(const ChannelPass&);
  void (*bn_backward_apply)(const ChannelPass&);
  /// sum0[i] = sum over periods of x, in f64.
  void (*column_sums)(const ChannelPass&);

  void (*max_pool_row)(const PoolRow&);
  void (*max_pool_backward_row)(const PoolBackwardRow&);
  void (*average_pool_row)(const PoolRow&);

  void (*relu)(const float* x, float* y, ptrdiff_t n);
  void (*tanh)(const float* x, float* y, ptrdiff_t n);
  void (*relu_backward)(const float* y, const float* dy, float* dx, ptrdiff_t n);
  void (*tanh_backward)(const float* y, const float* dy, float* dx, ptrdiff_t n);
  /// The sum of softplus(z) - t z, in f64; dz = scale (sigmoid(z) - t), or nullptr.
  double (*bernoulli_row)(const float* z, const float* t, float* dz, ptrdiff_t n, float scale);
  void (*add)(const float* a, const float* b, float* y, ptrdiff_t n, bool relu);
  void (*axpby)(float alpha, const float* x, float beta, float* y, ptrdiff_t n);
  void (*scale_add)(float alpha, const float* x, float* y, ptrdiff_t n);  ///< y += alpha x
  /// y = g32 or g64, whichever is not nullptr, + scale addend, if there is one.
  void (*narrow_add)(const float* g32, const double* g64, float scale, const float* addend,
                     float* y, ptrdiff_t n);
  /// y = alpha x + beta y in f64; beta = 0 does not read y.
  void (*axpby_f64)(double alpha, const double* x, double beta, double* y, ptrdiff_t n);
  void (*axpby_f64_f32)(double alpha, const double* x, double beta, float* y, ptrdiff_t n);
  void (*axpby_f32_f64)(double alpha, const float* x, double beta, double* y, ptrdiff_t n);
  /// y = x, or y += x, in f64.
  void (*add_in_double)(const float* x, double* y, ptrdiff_t n, bool add);
  void (*fill)(float value, float* y, ptrdiff_t n);
  double (*dot)(const float* a, const float* b, ptrdiff_t n);  ///< f64 inside
  /// sums[v] += sum a o b over `rows` rows of the v-th `lanes` columns, f64 inside
  void (*dot_columns)(const float* a, ptrdiff_t a_row, const float* b, ptrdiff_t b_row,
                      ptrdiff_t rows, ptrdiff_t columns, double* sums);
  void (*sgd)(const Sgd&);
  void (*adam)(const Adam&);

  void (*add_f32)(void* y, const void* x, ptrdiff_t n);  ///< y += x, unaligned
  void (*add_f64)(void* y, const void* x, ptrdiff_t n);
  void (*add_i32)(void* y, const void* x, ptrdiff_t n);
  WireKernels wire_f32, wire_f64;
};

const Kernels& avx2_kernels();
const Kernels& avx512_kernels();

}  // namespace isaribi::simd
