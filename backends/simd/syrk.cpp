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

constexpr std::int64_t kDepth = 512;          // of a block, at most
constexpr std::int64_t kSliceBlocks = 4;      // depth blocks of a slice, at least
constexpr std::int64_t kSlices = 32;          // at most
constexpr std::int64_t kPartials = 4 << 20;   // elements of all partial sums
constexpr std::int64_t kDirectColumns = 192;  // A^T A reads as few columns where they lie

/// The lower triangle of one slice of K into c.
struct Job {
  Range blocks;  // of the depth
  Range rows;    // of C, from a multiple of the lanes
  float* c;
  std::int64_t c_row;
  float alpha, beta;
  bool mirrored;  // the upper triangle, too
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

/// What tiles fetch, in turn: where the block of C that they form is mirrored to, the panel that
/// comes next, what is packed later and to where.
struct Fetches {
  LinesAhead mirror{}, panel{}, later{}, place{};

  LinesAhead* next() {
    return !done(mirror) ? &mirror : !done(panel) ? &panel : !done(later) ? &later : &place;
  }
};

/// Panel `q` of this block of K.
Place place_of(const Panels& panels, const Plan& plan, std::int64_t n, std::int64_t q,
               const Kernels& kernels) {
  if (q < panels.first_packed) return {panels.direct + q * plan.width, panels.direct_step};
  const std::int64_t count = std::min(plan.width, n - q * plan.width);
  return {panels.packed + (q - panels.first_packed) * panels.panel,
          count == plan.width ? plan.width : round_up(count, kernels.lanes)};
}

/// Elements of C's upper triangle from its lower one: a line of cache of the lower rows at a time,
/// or half of one.
void mirror(float* c, std::int64_t c_row, const Kernels& kernels, Range rows, Range columns) {
  constexpr std::int64_t kEight = 8;
  // Rows pages apart share a set of L1, which does not hold a line of each of 16.
  const std::int64_t step = c_row % kPage == 0 ? kEight : kLine;
  for (std::int64_t i = rows.begin; i < rows.end; i += step) {
    const std::int64_t count = std::min(step, rows.end - i);
    const auto by_element = [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t y = i; y < i + count; ++y) {
        for (std::int64_t x = std::max(begin, y + 1); x < end; ++x)
          c[y * c_row + x] = c[x * c_row + y];
      }
    };
    std::int64_t x = std::clamp(i + step, columns.begin, columns.end);
    by_element(columns.begin, x);
    for (; x + kEight <= columns.end; x += kEight)
      kernels.transpose_eight(c + x * c_row + i, c_row, count, c_row, c + i * c_row + x);
    by_element(x, columns.end);
  }
}

/// Packs panels [from, to) of this block where they cannot be read where they lie.
void pack_panels(const Product& p, const Kernels& kernels, const Plan& plan, std::int64_t k,
                 std::int64_t depth, std::int64_t from, std::int64_t to, const Panels& panels) {
  const std::int64_t first = std::max(from, panels.first_packed) * plan.width;
  const std::int64_t end = std::min(to * plan.width, p.n), whole = end / plan.width * plan.width;
  const float* lines = p.a.data + k * p.a.column;
  float* packed = panels.packed + (first / plan.width - panels.first_packed) * panels.panel;
  if (whole > first)
    kernels.gemm_pack({lines + first * p.a.row, p.a.row, p.a.column, whole - first, depth,
                       plan.width, panels.panel, packed});
  if (end > std::max(first, whole))
    kernels.gemm_pack({lines + whole * p.a.row, p.a.row, p.a.column, end - whole, depth,
                       round_up(end - whole, kernels.lanes), panels.panel,
                       packed + (whole - first) / plan.width * panels.panel});
}

/// Whether the first tile on the diagonal of panel q packs it: of whole panels whose lowest tile
/// is a full one.
bool tile_packs(const Product& p, const Kernels& kernels, const Plan& plan, std::int64_t q,
                const Panels& panels) {
  const std::int64_t most = kernels.outer_rows[kernels.gemm_vectors];
  const std::int64_t tiles = (kernels.lanes + most - 1) / most;
  return q >= panels.first_packed && p.a.row == 1 && (q + 1) * plan.width <= p.n &&
         plan.width == kernels.gemm_vectors * kernels.lanes &&
         kernels.lanes - kernels.lanes * (tiles - 1) / tiles == most;
}

/// The rows of panel q that a job computes.
Range rows_of(const Plan& plan, const Job& job, std::int64_t q) {
  return {std::max(q * plan.width, job.rows.begin), std::min((q + 1) * plan.width, job.rows.end)};
}

/// Rows of panel q times the columns of panel j <= q, from the lowest tile to the highest; the
/// first one packs the panel where there is a place for it. On the diagonal a band of as many rows
/// as a vector has lanes takes the vectors that reach into the triangle, and tiles are as tall as
/// their width allows: short and narrow ones would wait for the latency of the FMA.
void multiply_panels(const Kernels& kernels, const Plan& plan, const Job& job, std::int64_t q,
                     std::int64_t j, Place a, Place b, float* pack, Fetches& fetches, GemmTile& t) {
  const Range of_job = rows_of(plan, job, q);
  const std::int64_t top = of_job.begin - q * plan.width, rows = of_job.end - q * plan.width;
  t.a_row = 1;
  t.b = b.data;
  t.b_step = b.step;
  t.pack_b = pack;
  const std::int64_t band = j < q ? rows - top : kernels.lanes;
  for (std::int64_t begin = top + (rows - top - 1) / band * band; begin >= top; begin -= band) {
    const std::int64_t height = std::min(band, rows - begin);
    t.columns = static_cast<int>(j < q ? plan.width : begin + height);
    const std::int64_t most = kernels.outer_rows[vectors_of(t.columns, kernels)];
    const std::int64_t tiles = (height + most - 1) / most;
    for (std::int64_t n = 0; n < tiles; ++n) {
      const std::int64_t i = j < q ? n : tiles - 1 - n;
      const std::int64_t first = begin + height * i / tiles, end = begin + height * (i + 1) / tiles;
      t.a = a.data + first;
      t.a_step = a.step;
      t.rows = static_cast<int>(end - first);
      t.c = job.c + (q * plan.width + first) * job.c_row + j * plan.width;
      t.next_c = j < q ? t.c + t.rows * job.c_row : t.c - most * job.c_row;
      t.ahead = fetches.next();
      kernels.gemm_tile(t);
      if (t.pack_b) {
        a = b = {t.pack_b, plan.width};
        t.b = b.data;
        t.b_step = b.step;
        t.pack_b = nullptr;
      }
    }
  }
}

/// Elements [k, k + depth) of the rows of A that panels [from, to) hold, to be fetched.
LinesAhead rows_ahead(const Product& p, const Plan& plan, std::int64_t k, std::int64_t from,
                      std::int64_t to) {
  const std::int64_t depth = std::min(plan.depth, p.k - k), first = from * plan.width;
  const std::int64_t rows = std::min(to * plan.width, p.n) - first;
  if (depth <= 0 || rows <= 0) return {};
  const float* at = p.a.data + first * p.a.row + k * p.a.column;
  if (p.a.row == 1 && rows == p.a.column) return {at, kLine, depth * rows / kLine, 1};
  if (p.a.row == 1)
    return {at, p.a.column, std::min(depth, lines_held(p.a.column)), (rows + kLine - 1) / kLine};
  return {at, p.a.row, rows, (depth + kLine - 1) / kLine};
}

/// One block of K. Rows are taken in groups of panels that stay in L2 and are packed when their
/// turn comes, by the tiles of the diagonal where these can; tiles fetch what follows.
void run_block(const Product& p, const Kernels& kernels, const Plan& plan, const Job& job,
               const Panels& panels, std::int64_t k, bool last, GemmTile& t) {
  const std::int64_t count = (job.rows.end + plan.width - 1) / plan.width;
  const std::int64_t start = job.rows.begin / plan.width;
  const std::int64_t groups =
      std::max<std::int64_t>(1, (job.rows.end - job.rows.begin) / plan.rows);
  const std::int64_t group = (count - start + groups - 1) / groups;
  const auto pair = [&](std::int64_t q, std::int64_t j, Place a, Place b, float* pack,
                        Fetches& fetches) {
    const Range rows = rows_of(plan, job, q);
    const Range columns{j * plan.width, std::min((j + 1) * plan.width, rows.end)};
    if (last)
      fetches.mirror = {job.c + columns.begin * job.c_row + rows.begin, job.c_row,
                        columns.end - columns.begin, (rows.end - rows.begin + kLine - 1) / kLine};
    multiply_panels(kernels, plan, job, q, j, a, b, pack, fetches, t);
    if (last) mirror(job.c, job.c_row, kernels, columns, rows);
  };
  const auto place = [&](std::int64_t q) { return place_of(panels, plan, p.n, q, kernels); };
  pack_panels(p, kernels, plan, k, t.k, 0, start, panels);
  for (std::int64_t from = start; from < count; from += group) {
    const std::int64_t to = std::min(from + group, count);
    Fetches fetches;
    const std::int64_t begin = to < count ? to : start, end = std::min(begin + group, count);
    fetches.later =
        to < count ? rows_ahead(p, plan, k, begin, end) : rows_ahead(p, plan, k + t.k, begin, end);
    if (begin >= panels.first_packed)
      fetches.place = {panels.packed + (begin - panels.first_packed) * panels.panel, kLine,
                       (end - begin) * panels.panel / kLine, 1};
    for (std::int64_t q = from; q < to; ++q) {
      if (tile_packs(p, kernels, plan, q, panels)) {
        const Place raw{p.a.data + k * p.a.column + q * plan.width, p.a.column};
        pair(q, q, raw, raw, panels.packed + (q - panels.first_packed) * panels.panel, fetches);
      } else {
        pack_panels(p, kernels, plan, k, t.k, q, q + 1, panels);
        pair(q, q, place(q), place(q), nullptr, fetches);
      }
    }
    for (std::int64_t j = 0; j < to; ++j) {
      if (j + 1 < from) fetches.panel = {place(j + 1).data, kLine, t.k * plan.width / kLine, 1};
      for (std::int64_t q = std::max(from, j + 1); q < to; ++q)
        pair(q, j, place(q), place(j), nullptr, fetches);
    }
  }
}

void run_job(const Product& p, const Kernels& kernels, const Plan& plan, Scratch& scratch,
             const Job& job) {
  if (job.rows.begin >= job.rows.end) return;
  const int thread = omp_get_thread_num();
  const std::int64_t count = (job.rows.end + plan.width - 1) / plan.width;
  Panels panels{};
  const bool aligned = p.a.column % kLine == 0;  // else vectors would straddle
  if (p.a.row == 1 && p.n <= kDirectColumns && aligned) {
    panels.first_packed = p.n / plan.width;
    panels.direct_step = p.a.column;
  }
  panels.panel = plan.width / kernels.lanes * vector_b(kernels, plan.depth);
  panels.packed =
      scratch.get<float>(Use::weights, (count - panels.first_packed) * panels.panel, thread);
  GemmTile t{};
  t.c_row = job.c_row;
  t.alpha = job.alpha;
  for (std::int64_t block = job.blocks.begin; block < job.blocks.end; ++block) {
    const std::int64_t k = block * plan.depth;
    panels.direct = p.a.data + k * p.a.column;
    t.k = std::min(plan.depth, p.k - k);
    t.beta = block == job.blocks.begin ? job.beta : 1.0f;
    const bool last = job.mirrored && block + 1 == job.blocks.end;
    run_block(p, kernels, plan, job, panels, k, last, t);
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

/// Its rows need no column behind their own: the rest of A is not seen.
Product up_to(const Product& p, std::int64_t end) {
  Product q = p;
  q.n = end;
  return q;
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
  const Plan plan = plan_of(p, kernels, kDepth);
  const std::int64_t blocks = (p.k + plan.depth - 1) / plan.depth;
  const std::int64_t slices = std::clamp<std::int64_t>(
      std::min(blocks / kSliceBlocks, kPartials / (p.n * p.n)), 1, kSlices);
  float* partial = slices > 1 ? scratch.get<float>(Use::partial, slices * p.n * p.n) : nullptr;
#pragma omp parallel if (worth_a_team(p))
  {
    const int team = omp_get_num_threads(), thread = omp_get_thread_num();
    if (slices == 1) {
      const Range rows = triangle_share(p.n, thread, team, kernels.lanes);
      run_job(up_to(p, rows.end), kernels, plan, scratch,
              {{0, blocks}, rows, p.c, p.c_row, p.alpha, p.beta, true});
    } else {
      for (std::int64_t s = thread; s < slices; s += team) {
        const Range part{blocks * s / slices, blocks * (s + 1) / slices};
        run_job(p, kernels, plan, scratch,
                {part, {0, p.n}, partial + s * p.n * p.n, p.n, 1.0f, 0.0f, false});
      }
#pragma omp barrier
      for (std::int64_t i = thread; i < p.n; i += team) add_slices(p, kernels, partial, slices, i);
#pragma omp barrier
      mirror(p.c, p.c_row, kernels, share(p.n, thread, team, kLine), {0, p.n});
    }
  }
}

void mirror_lower(float* c, std::int64_t n, Context& context) {
  parallel_ranges(n, n * n / 2, kLine, [&](Range r) {
    mirror(c, n, context.kernels(), r, {0, n});
  });
}

}  // namespace isaribi::simd
