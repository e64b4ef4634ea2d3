// SPDX-License-Identifier: MIT
// The statistics of K-FAC: what is done with their sums.
#include "backends/simd/factor.hpp"

#include <algorithm>
#include <type_traits>

#include "backends/simd/factor_columns.hpp"
#include "backends/simd/factor_flat.hpp"
#include "backends/simd/factor_means.hpp"
#include "backends/simd/factor_rows.hpp"
#include "backends/simd/factor_run.hpp"
#include "backends/simd/parallel.hpp"

namespace isaribi::simd {
namespace {

constexpr std::size_t kMostPlans = 256;  // kept
constexpr std::int64_t kTile = 16;       // rows and columns mirrored at once
constexpr std::int64_t kBlock = 64;      // of tiles: as many rows and columns stay near

/// Calls body(n) with n = `count`, known to the compiler if it is that of a whole tile: loops of a
/// few elements would take longer to begin than to run.
template <class Body>
void for_count(std::int64_t count, const Body& body) {
  count == kTile ? body(std::integral_constant<std::int64_t, kTile>{}) : body(count);
}

/// Rows [begin, end) of one tile of the sums, all lanes, into `tile` (rows of kTile).
void sum_lanes(const double* from, std::int64_t n, const FactorSums& sums, std::int64_t lane,
               Range rows, Range columns, double* tile) {
  for_count(columns.end - columns.begin, [&](auto count) {
    for (std::int64_t i = rows.begin; i < rows.end; ++i, tile += kTile) {
      const double* row = from + i * n + columns.begin;
      for (std::int64_t j = 0; j < count; ++j) tile[j] = row[j];
      for (std::int64_t l = 1; l < sums.lanes; ++l) {
        for (std::int64_t j = 0; j < count; ++j) tile[j] += row[l * lane + j];
      }
    }
  });
}

/// Brings rows of all lanes near that the tile below this one reads: they lie pages apart.
void fetch_rows(const double* from, std::int64_t n, const FactorSums& sums, std::int64_t lane,
                Range rows, Range columns) {
  constexpr std::int64_t kDoubles = 8;  // of a line
  for (std::int64_t l = 0; l < sums.lanes; ++l) {
    for (std::int64_t i = rows.begin; i < rows.end; ++i) {
      for (std::int64_t j = columns.begin; j < columns.end; j += kDoubles)
        __builtin_prefetch(from + l * lane + i * n + j);
    }
  }
}

void transpose_tile(const double* from, double* to) {
  for (std::int64_t i = 0; i < kTile; ++i) {
    for (std::int64_t j = 0; j < kTile; ++j) to[i * kTile + j] = from[j * kTile + i];
  }
}

/// Which factor the sums are of, and how it is wanted.
struct FactorShape {
  std::int64_t groups, length;
  bool bias;
  double scale;
  bool accumulate, packed;
};

/// The sums of indices `small` with indices `large` that follow them, as rows of the triangle that
/// store_tile writes: packed, large by small; else small by large.
void load_tile(const FactorShape& p, const FactorSums& sums, std::int64_t group, Range small,
               Range large, double* tile) {
  const std::int64_t n = p.length, lane = p.groups * n * n;
  const double* from = sums.data + group * n * n;
  fetch_rows(from, n, sums, lane, {small.end, std::min(n, small.end + kTile)}, large);
  alignas(64) double loaded[kTile * kTile];
  double* to = p.packed ? loaded : tile;
  sum_lanes(from, n, sums, lane, small, large, to);
  if (p.bias && large.end == n) {  // the row of the constant 1 is summed as a row
    for (std::int64_t i = small.begin; i < small.end; ++i) {
      double sum = 0.0;
      for (std::int64_t l = 0; l < sums.lanes; ++l) sum += from[l * lane + (n - 1) * n + i];
      to[(i - small.begin) * kTile + n - 1 - large.begin] = sum;
    }
  }
  if (to != tile) transpose_tile(to, tile);
}

/// to = (to +) scale tile, elements [begin, end) of a row.
template <typename T>
void store_row(const FactorShape& p, const double* from, std::int64_t begin, std::int64_t end,
               T* to) {
  for_count(end - begin, [&, to = to + begin, from = from + begin](auto count) {
    if (p.accumulate) {
      for (std::int64_t j = 0; j < count; ++j)
        to[j] = static_cast<T>(static_cast<double>(to[j]) + p.scale * from[j]);
    } else {
      for (std::int64_t j = 0; j < count; ++j) to[j] = static_cast<T>(p.scale * from[j]);
    }
  });
}

/// Indices `small` times indices `large` that are not smaller: in the packed lower triangle, or in
/// the upper one and its mirror image.
template <typename T>
void store_tile(const FactorShape& p, const FactorSums& sums, std::int64_t group, Range small,
                Range large, T* a) {
  const std::int64_t n = p.length;
  alignas(64) double tile[kTile * kTile];
  load_tile(p, sums, group, small, large, tile);
  if (p.packed) {
    T* to = a + group * (n * (n + 1) / 2);
    for (std::int64_t i = large.begin; i < large.end; ++i)
      store_row(p, tile + (i - large.begin) * kTile - small.begin, small.begin,
                std::min(small.end, i + 1), to + i * (i + 1) / 2);
    return;
  }
  T* to = a + group * n * n;
  for (std::int64_t i = small.begin; i < small.end; ++i)
    store_row(p, tile + (i - small.begin) * kTile - large.begin, std::max(i, large.begin),
              large.end, to + i * n);
  for (std::int64_t j = large.begin; j < large.end; ++j) {
    const std::int64_t end = std::min(j, small.end);
    for (std::int64_t i = small.begin; i < end; ++i) to[j * n + i] = to[i * n + j];
  }
}

template <typename T>
void store_factor(const FactorShape& p, const FactorSums& sums, T* a) {
  const std::int64_t n = p.length, blocks = (n + kBlock - 1) / kBlock;
  const std::int64_t work = p.groups * n * n * (sums.lanes + 1);
#pragma omp parallel for schedule(dynamic) collapse(2) if (work > kSerialBelow)
  for (std::int64_t group = 0; group < p.groups; ++group) {
    for (std::int64_t block = blocks - 1; block >= 0; --block) {
      const std::int64_t begin = block * kBlock, end = std::min(n, begin + kBlock);
      for (std::int64_t small = 0; small < end; small += kBlock) {
        for (std::int64_t j = begin; j < end; j += kTile) {
          const Range large{j, std::min(n, j + kTile)};
          for (std::int64_t i = small; i < std::min(large.end, small + kBlock); i += kTile)
            store_tile(p, sums, group, {i, std::min(large.end, i + kTile)}, large, a);
        }
      }
    }
  }
}

/// Whether the product of patches as the rows of a matrix is the fastest way: where they lie one
/// behind the other; else, as measured, where they are long enough to repay being gathered and
/// distances do not help, or of so few channels that tiles of single taps are narrow.
bool is_of_rows(const api::PatchCovariance& args) {
  constexpr std::int64_t kVector = 16, kFew = 4, kMany = 64, kGathered = 256;
  constexpr std::int64_t kShort = 128, kLong = 1024;
  const core::Shape& x = args.x.shape();
  const api::ConvGeometry& g = args.geometry;
  const std::int64_t channels = x[3], length = args.length();
  if (g.groups != 1) return false;
  if (args.kh * args.kw == 1) {
    if (g != api::ConvGeometry{}) return channels >= kGathered;
    return x[1] * x[2] == 1 || channels % kVector == 0 || channels >= kMany;
  }
  const bool distances = g.stride_h == 1 && g.stride_w == 1;
  return !distances && (length >= kLong || (channels <= kFew && length >= kShort));
}

/// plan.cost where loads may take longer than products.
double cost_with_loads(const FactorPlan& plan) {
  double products = 0, all = 0;
  for (const FactorItem& item : plan.items) {
    const double own = item.rows * item.vectors;
    products += own;
    all += std::max(own, kSplitLoad * item.vectors + item.rows);
  }
  return products > 0 ? plan.cost * all / products : 0;
}

}  // namespace

void Factor::do_patch_covariance(const api::PatchCovariance& args) {
  if (!owns(api::Op::patch_covariance, args.x.dtype())) {
    context_.fall_back(api::Op::patch_covariance, args.x).factor().patch_covariance(args);
    return;
  }
  const FactorShape shape{args.geometry.groups, args.length(),   args.bias,
                          args.scale,           args.accumulate, args.a.shape().rank() == 2};
  if (shape.length == 0 || shape.groups == 0) return;
  if (shape.packed && is_of_rows(args)) {
    const RowsFactor rows{PatchRows(args), args.bias, args.scale, args.accumulate};
    args.a.dtype() == core::DType::f64 ? run_rows(rows, args.a.data<double>(), context_)
                                       : run_rows(rows, args.a.data<float>(), context_);
    return;
  }
  const FactorSums sums = sum_patches(args);
  if (args.a.dtype() == core::DType::f64) {
    store_factor(shape, sums, args.a.data<double>());
  } else {
    store_factor(shape, sums, args.a.data<float>());
  }
}

FactorSums Factor::sum_products(const api::PatchCovariance& args) {
  if (is_flat(args, context_.kernels())) return run_flat(args, context_);
  Planned& p = planned(args);
  p.plan.n = p.columns.n = args.x.shape()[0];
  const float* x = args.x.data<float>();
  return p.by_columns ? run_columns(p.columns, x, context_) : run_factor(p.plan, x, context_);
}

FactorSums Factor::sum_patches(const api::PatchCovariance& args) {
  const FactorSums sums = sum_products(args);
  if (args.bias) sum_means(args, sums, context_);
  return sums;
}

Factor::Planned& Factor::planned(const api::PatchCovariance& args) {
  const core::Shape& x = args.x.shape();
  const Way way{x[1], x[2], x[3], args.kh, args.kw, args.bias, args.geometry};
  for (const auto& known : plans_) {
    if (known->way == way) return *known;
  }
  if (plans_.size() >= kMostPlans) plans_.clear();
  plans_.push_back(std::make_unique<Planned>());
  Planned& fresh = *plans_.back();
  fresh.way = way;
  make_factor_plan(args, context_.kernels(), fresh.plan);
  fresh.by_columns = make_column_plan(args, context_.kernels(), fresh.columns) &&
                     fresh.columns.cost < cost_with_loads(fresh.plan);
  return fresh;
}

void Factor::do_patch_mean(const api::PatchMean& args) {
  context_.fall_back(api::Op::patch_mean, args.x).factor().patch_mean(args);
}
void Factor::do_fisher_vectors(const api::FisherVectors& args) {
  context_.fall_back(api::Op::fisher_vectors, args.z).factor().fisher_vectors(args);
}

}  // namespace isaribi::simd
