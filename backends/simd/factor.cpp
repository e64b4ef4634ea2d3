// SPDX-License-Identifier: MIT
// The statistics of K-FAC: what is done with their sums.
#include "backends/simd/factor.hpp"

#include <algorithm>

#include "backends/simd/factor_columns.hpp"
#include "backends/simd/factor_run.hpp"
#include "backends/simd/parallel.hpp"

namespace isaribi::simd {
namespace {

constexpr std::size_t kMostPlans = 256;  // kept
constexpr std::int64_t kTile = 16;       // rows and columns mirrored at once

/// Rows [begin, end) of one tile of the sums, all lanes, into `tile` (rows of kTile).
void sum_lanes(const double* from, std::int64_t n, const FactorSums& sums, std::int64_t lane,
               Range rows, Range columns, double* tile) {
  const std::int64_t count = columns.end - columns.begin;
  for (std::int64_t i = rows.begin; i < rows.end; ++i, tile += kTile) {
    const double* row = from + i * n + columns.begin;
    for (std::int64_t j = 0; j < count; ++j) tile[j] = row[j];
    for (std::int64_t l = 1; l < sums.lanes; ++l) {
      for (std::int64_t j = 0; j < count; ++j) tile[j] += row[l * lane + j];
    }
  }
}

/// Which factor the sums are of.
struct FactorShape {
  std::int64_t groups, length;
  bool bias;
};

/// a = (a +) scale sums for one tile [i0, i1) x [j0, j1) of the upper triangle, and its mirror
/// image.
template <typename T>
void store_tile(const FactorShape& p, const FactorSums& sums, std::int64_t group, double scale,
                bool accumulate, Range rows, Range columns, T* a) {
  const std::int64_t n = p.length, lane = p.groups * n * n;
  const double* from = sums.data + group * n * n;
  T* to = a + group * n * n;
  double tile[kTile * kTile];
  sum_lanes(from, n, sums, lane, rows, columns, tile);
  if (p.bias && columns.end == n) {  // the last row, of the constant 1, is summed as a row
    for (std::int64_t i = rows.begin; i < rows.end; ++i) {
      double sum = 0.0;
      for (std::int64_t l = 0; l < sums.lanes; ++l) sum += from[l * lane + (n - 1) * n + i];
      tile[(i - rows.begin) * kTile + n - 1 - columns.begin] = sum;
    }
  }
  for (std::int64_t i = rows.begin; i < rows.end; ++i) {
    const double* row = tile + (i - rows.begin) * kTile - columns.begin;
    for (std::int64_t j = std::max(i, columns.begin); j < columns.end; ++j) {
      const double old = accumulate ? static_cast<double>(to[i * n + j]) : 0.0;
      to[i * n + j] = static_cast<T>(old + scale * row[j]);
    }
  }
  for (std::int64_t j = columns.begin; j < columns.end; ++j) {
    const std::int64_t end = std::min(j, rows.end);
    for (std::int64_t i = rows.begin; i < end; ++i) to[j * n + i] = to[i * n + j];
  }
}

template <typename T>
void store_factor(const FactorShape& p, const FactorSums& sums, double scale, bool accumulate,
                  T* a) {
  const std::int64_t n = p.length, bands = (n + kTile - 1) / kTile;
  const std::int64_t work = p.groups * n * n * (sums.lanes + 1);
#pragma omp parallel for schedule(dynamic) collapse(2) if (work > kSerialBelow)
  for (std::int64_t group = 0; group < p.groups; ++group) {
    for (std::int64_t band = 0; band < bands; ++band) {
      const Range rows{band * kTile, std::min(n, (band + 1) * kTile)};
      for (std::int64_t j = rows.begin; j < n; j += kTile)
        store_tile(p, sums, group, scale, accumulate, rows, {j, std::min(n, j + kTile)}, a);
    }
  }
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
  const FactorShape shape{args.a.shape()[0], args.a.shape()[1], args.bias};
  if (shape.length == 0 || shape.groups == 0) return;
  Planned& p = planned(args);
  p.plan.n = p.columns.n = args.x.shape()[0];
  const float* x = args.x.data<float>();
  const FactorSums sums =
      p.by_columns ? run_columns(p.columns, x, context_) : run_factor(p.plan, x, context_);
  if (args.a.dtype() == core::DType::f64) {
    store_factor(shape, sums, args.scale, args.accumulate, args.a.data<double>());
  } else {
    store_factor(shape, sums, args.scale, args.accumulate, args.a.data<float>());
  }
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
