// SPDX-License-Identifier: MIT
// C = alpha A A^T + beta C on the tiles of GEMM: A is packed once, into panels of columns, and the
// rows of a tile are read from the same panels; only tiles that touch the lower triangle are
// computed. A long K with a small C (the tall panels of K-FAC) is cut into slices that threads
// share; how many depends on the shape alone, and their sums are added in order, so that the number
// of threads does not change a bit.
#include <algorithm>
#include <cmath>

#include "backends/simd/gemm.hpp"
#include "backends/simd/gemm_plan.hpp"
#include "backends/simd/parallel.hpp"

namespace isaribi::simd {
namespace {

constexpr std::int64_t kSliceBlocks = 4;      // depth blocks of a slice, at least
constexpr std::int64_t kSlices = 32;          // at most
constexpr std::int64_t kPartials = 4 << 20;   // elements of all partial sums
constexpr std::int64_t kDirectColumns = 192;  // A^T A reads as few columns where they lie

/// The lower triangle of one slice of K into c.
struct Job {
  Range blocks;  // of the depth
  Range rows;    // of C, from a multiple of the width
  float* c;
  std::int64_t c_row;
  float alpha, beta;
};

/// The rows of A, as panels of columns of A^T: [k][width].
struct Panels {
  const float* direct;  // where panels need no packing
  std::int64_t direct_step;
  float* packed;
  std::int64_t panel, first_packed;  // panels before it are direct
};

struct Place {
  const float* data;
  std::int64_t step;
};

/// Panel `q` of this block of K.
Place place_of(const Panels& panels, const Plan& plan, std::int64_t n, std::int64_t q,
               const Kernels& kernels) {
  if (q < panels.first_packed) return {panels.direct + q * plan.width, panels.direct_step};
  const std::int64_t count = std::min(plan.width, n - q * plan.width);
  return {panels.packed + (q - panels.first_packed) * panels.panel,
          count == plan.width ? plan.width : round_up(count, kernels.lanes)};
}

/// Packs what cannot be read where it lies of columns [0, end).
void pack_panels(const Product& p, const Kernels& kernels, const Plan& plan, std::int64_t k,
                 std::int64_t depth, std::int64_t end, const Panels& panels) {
  const std::int64_t first = panels.first_packed * plan.width;
  const std::int64_t whole = end / plan.width * plan.width;
  const float* from = p.a.data + k * p.a.column;
  if (whole > first)
    kernels.gemm_pack({from + first * p.a.row, p.a.row, p.a.column, whole - first, depth,
                       plan.width, panels.panel, panels.packed});
  if (end > whole)
    kernels.gemm_pack({from + whole * p.a.row, p.a.row, p.a.column, end - whole, depth,
                       round_up(end - whole, kernels.lanes), panels.panel,
                       panels.packed + (whole - first) / plan.width * panels.panel});
}

/// Rows of panel q times the columns of panel j <= q. On the diagonal a band of as many rows as a
/// vector has lanes takes the vectors that reach into the triangle, and tiles are as tall as their
/// width allows: short and narrow ones would wait for the latency of the FMA.
void multiply_panels(const Product& p, const Kernels& kernels, const Plan& plan, const Job& job,
                     std::int64_t q, std::int64_t j, Place a, Place b, const float* end_ahead,
                     GemmTile& t) {
  const std::int64_t rows = std::min(plan.width, p.n - q * plan.width);
  const std::int64_t taken = kLine * (t.k / kernels.fetch_steps);
  t.a_row = 1;
  t.a_step = a.step;
  t.b = b.data;
  t.b_step = b.step;
  const std::int64_t band = j < q ? rows : kernels.lanes;
  for (std::int64_t begin = 0; begin < rows; begin += band) {
    const std::int64_t height = std::min(band, rows - begin);
    t.columns = static_cast<int>(j < q ? plan.width : begin + height);
    const std::int64_t most = kernels.tile_rows[(t.columns + kernels.lanes - 1) / kernels.lanes];
    const std::int64_t tiles = (height + most - 1) / most;
    for (std::int64_t i = 0; i < tiles; ++i) {
      const std::int64_t first = begin + height * i / tiles, end = begin + height * (i + 1) / tiles;
      t.a = a.data + first;
      t.rows = static_cast<int>(end - first);
      t.c = job.c + (q * plan.width + first) * job.c_row + j * plan.width;
      t.next_c = t.c + t.rows * job.c_row;
      kernels.gemm_tile(t);
      if (t.ahead) t.ahead = t.ahead + taken < end_ahead ? t.ahead + taken : nullptr;
    }
  }
}

void run_job(const Product& p, const Kernels& kernels, const Plan& plan, Scratch& scratch,
             const Job& job) {
  if (job.rows.begin >= job.rows.end) return;
  const int thread = omp_get_thread_num();
  const std::int64_t count = (job.rows.end + plan.width - 1) / plan.width;
  Panels panels{};
  const bool aligned = p.n % kLine == 0 || kernels.lanes == kLine;  // narrow vectors would straddle
  if (p.a.row == 1 && p.n <= kDirectColumns && aligned) {
    panels.first_packed = job.rows.end == p.n ? p.n / plan.width : count;
    panels.direct_step = p.a.column;
  }
  panels.panel = panel_b(plan, plan.depth);
  panels.packed =
      scratch.get<float>(Use::weights, (count - panels.first_packed) * panels.panel, thread);
  const std::int64_t group = std::max<std::int64_t>(1, plan.rows / plan.width);  // panels in L2
  GemmTile t{};
  t.c_row = job.c_row;
  t.alpha = job.alpha;
  t.ahead_step = kLine;
  for (std::int64_t block = job.blocks.begin; block < job.blocks.end; ++block) {
    const std::int64_t k = block * plan.depth, depth = std::min(plan.depth, p.k - k);
    panels.direct = p.a.data + k * p.a.column;
    pack_panels(p, kernels, plan, k, depth, job.rows.end, panels);
    t.k = depth;
    // The next block is on its way while this one is multiplied.
    const std::int64_t next = k + depth;
    t.ahead = p.a.row == 1 && next < p.k ? p.a.data + next * p.a.column : nullptr;
    const float* end_ahead = p.a.data + std::min(p.k, next + plan.depth) * p.a.column;
    t.beta = block == job.blocks.begin ? job.beta : 1.0f;
    for (std::int64_t from = job.rows.begin / plan.width; from < count; from += group) {
      const std::int64_t to = std::min(from + group, count);
      for (std::int64_t j = 0; j < to; ++j) {
        const Place b = place_of(panels, plan, p.n, j, kernels);
        for (std::int64_t q = std::max(from, j); q < to; ++q)
          multiply_panels(p, kernels, plan, job, q, j, place_of(panels, plan, p.n, q, kernels), b,
                          end_ahead, t);
      }
    }
  }
}

/// Row i of C = alpha (sum of the slices) + beta C, up to the diagonal.
void add_slices(const Product& p, const Kernels& kernels, float* partial, std::int64_t slices,
                std::int64_t i) {
  const std::int64_t area = p.n * p.n;
  float* sum = partial + i * p.n;
  for (std::int64_t s = 1; s < slices; ++s)
    kernels.add(sum, partial + s * area + i * p.n, sum, i + 1, false);
  kernels.axpby(p.alpha, sum, p.beta, p.c + i * p.c_row, i + 1);
}

/// C's upper triangle from its lower one, rows [begin, end) of the upper one: a line of cache of
/// the lower rows at a time.
void mirror(float* c, std::int64_t c_row, std::int64_t n, const Kernels& kernels, Range r) {
  constexpr std::int64_t kEight = 8;
  for (std::int64_t i = r.begin; i < r.end; i += kLine) {
    const std::int64_t rows = std::min(kLine, r.end - i);
    const auto by_element = [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t y = i; y < i + rows; ++y) {
        for (std::int64_t x = std::max(begin, y + 1); x < end; ++x)
          c[y * c_row + x] = c[x * c_row + y];
      }
    };
    std::int64_t x = std::min(n, i + kLine);
    by_element(i, x);
    for (; x + kEight <= n; x += kEight)
      kernels.transpose_eight(c + x * c_row + i, c_row, rows, c_row, c + i * c_row + x);
    by_element(x, n);
  }
}

/// Rows of thread t of `team`: equal areas of the triangle, rows up to n sqrt(t / team).
Range triangle_share(std::int64_t n, int t, int team, std::int64_t grain) {
  const auto cut = [&](int at) {
    const double rows = static_cast<double>(n) * std::sqrt(static_cast<double>(at) / team);
    return at == team ? n : std::min(n, round_up(std::llround(rows), grain));
  };
  return {cut(t), cut(t + 1)};
}

}  // namespace

void multiply_symmetric(const Product& p, Context& context) {
  const Kernels& kernels = context.kernels();
  Scratch& scratch = context.ready();
  const Plan plan = plan_of(p, kernels);
  const std::int64_t blocks = (p.k + plan.depth - 1) / plan.depth;
  const std::int64_t slices = std::clamp<std::int64_t>(
      std::min(blocks / kSliceBlocks, kPartials / (p.n * p.n)), 1, kSlices);
  float* partial = slices > 1 ? scratch.get<float>(Use::partial, slices * p.n * p.n) : nullptr;
#pragma omp parallel if (worth_a_team(p))
  {
    const int team = omp_get_num_threads(), thread = omp_get_thread_num();
    if (slices == 1) {
      const Range rows = triangle_share(p.n, thread, team, plan.width);
      run_job(p, kernels, plan, scratch, {{0, blocks}, rows, p.c, p.c_row, p.alpha, p.beta});
    } else {
      for (std::int64_t s = thread; s < slices; s += team) {
        const Range part{blocks * s / slices, blocks * (s + 1) / slices};
        run_job(p, kernels, plan, scratch,
                {part, {0, p.n}, partial + s * p.n * p.n, p.n, 1.0f, 0.0f});
      }
#pragma omp barrier
      for (std::int64_t i = thread; i < p.n; i += team) add_slices(p, kernels, partial, slices, i);
    }
#pragma omp barrier
    mirror(p.c, p.c_row, p.n, kernels, share(p.n, thread, team, 16));
  }
}

void mirror_lower(float* c, std::int64_t n, Context& context) {
  parallel_ranges(n, n * n / 2, kLine, [&](Range r) { mirror(c, n, n, context.kernels(), r); });
}

}  // namespace isaribi::simd
