// SPDX-License-Identifier: MIT
// Products of Kronecker form, of all layers in one parallel region. R is packed once, by the plan:
// in the middle of a training step it is in no near cache, and what lies in order is fetched twice
// as fast. Threads first make their rows of X, where it is gathered. A share is some columns of one
// layer: X R, L times that, written where it is wanted, and what it adds to the inner product, by
// one thread, so that nothing waits between them and what lies between them stays in its cache.
// Large layers are cut into a share per thread (more would each begin with a panel of R that is not
// in the cache), small ones are taken whole afterwards. Layers whose shares would not fit a cache,
// or that have too few columns for the threads, go last, by all threads one product after the
// other. The bits are the same in every way.
#include "backends/simd/kronecker.hpp"

#include <algorithm>
#include <atomic>
#include <numeric>
#include <utility>
#include <vector>

#include "backends/simd/elementwise.hpp"
#include "backends/simd/gemm.hpp"
#include "backends/simd/gemm_plan.hpp"
#include "backends/simd/parallel.hpp"

namespace isaribi::simd {
namespace {

using api::KroneckerProduct;

constexpr double kWorthSharing = 1 << 20;  // multiply-adds

struct Layer {
  KroneckerProduct* product;
  int shares;     // 0: by all threads together
  double* inner;  // of its vectors of columns
  float* packed;  // its R, one share behind the other, unless by all threads together
};

struct Share {
  const Layer* layer;
  int index;
};

double multiply_adds(const KroneckerProduct& p) {
  const auto m = static_cast<double>(p.x.shape()[0]), n = static_cast<double>(p.x.shape()[1]);
  return m * n * (m + n);
}

/// Columns of Y where they are wanted, `row` elements from one of its rows to the next.
struct Columns {
  Range range;
  float* y;
  std::int64_t row;
};

/// Calls body(Columns) for the columns of `range`: of y, or of one part after the other.
template <class Body>
void for_columns(const KroneckerProduct& p, Range range, const Body& body) {
  if (p.parts.empty()) body(Columns{range, p.y.data<float>() + range.begin, p.y.shape()[1]});
  std::int64_t first = 0;
  for (const core::Tensor& part : p.parts) {
    const std::int64_t width = part.shape()[1];
    const Range own{std::max(range.begin, first), std::min(range.end, first + width)};
    if (own.begin < own.end) body(Columns{own, part.data<float>() + own.begin - first, width});
    first += width;
  }
}

/// Columns of Y = L times those of X R, `row` elements from one of its rows to the next.
Product left_times(const KroneckerProduct& p, const float* half, std::int64_t row,
                   const Columns& out) {
  const std::int64_t m = p.left.shape()[0], columns = out.range.end - out.range.begin;
  return {m, columns, m, {p.left.data<float>(), m, 1}, {half, row, 1}, out.y, out.row};
}

/// What columns of Y add to the inner product, by vectors of columns of Y.
void add_inner(const Layer& layer, const Columns& columns, const Kernels& kernels) {
  const KroneckerProduct& p = *layer.product;
  const std::int64_t m = p.x.shape()[0], n = p.x.shape()[1], lanes = kernels.lanes;
  const auto [begin, end] = columns.range;
  const std::int64_t whole = std::min(end, round_up(begin, lanes));  // where a vector begins
  for (const Range& r : {Range{begin, whole}, Range{whole, end}})
    kernels.dot_columns(p.x.data<float>() + r.begin, n, columns.y + r.begin - begin, columns.row, m,
                        r.end - r.begin, layer.inner + r.begin / lanes);
}

void gather(const KroneckerProduct& p, Range rows, Context& context) {
  if (!p.gather.parts.empty()) concat_rows(p.gather, rows, context.kernels());
}

/// This thread's rows of x of layers that are shared.
void gather_shared(const std::vector<Layer>& layers, Context& context) {
  for (const Layer& layer : layers) {
    if (layer.shares == 1) continue;
    const KroneckerProduct& p = *layer.product;
    gather(p, share(p.x.shape()[0], omp_get_thread_num(), omp_get_num_threads()), context);
  }
}

/// The columns of X R that are a share, and where those of R lie packed.
struct Part {
  Range columns;
  Product product;
  float* packed;
};

Part part_of(const Share& s, std::int64_t lanes) {
  const KroneckerProduct& p = *s.layer->product;
  const std::int64_t m = p.x.shape()[0], n = p.x.shape()[1];
  const Range columns = share(n, s.index, s.layer->shares, lanes);
  Product product{};
  product.m = m;
  product.n = columns.end - columns.begin;
  product.k = n;
  product.a = {p.x.data<float>(), n, 1};
  product.b = {p.right.data<float>() + columns.begin, n, 1};
  product.c_row = round_up(product.n, kLine);
  return {columns, product, s.layer->packed + columns.begin * n};
}

LinesAhead lines_of(const float* from, std::int64_t count) {
  return {from, kLine, (count + kLine - 1) / kLine, 1};
}

/// What a share reads of R.
LinesAhead packed_lines(const Share& s, std::int64_t lanes) {
  const Part part = part_of(s, lanes);
  return lines_of(part.packed, round_up(part.product.n, lanes) * part.product.k);
}

/// `after`: the share that this thread takes next if the others keep pace, or nullptr.
void run_share(const Share& s, const Share* after, Context& context) {
  const Layer& layer = *s.layer;
  const KroneckerProduct& p = *layer.product;
  auto [columns, xr, packed] = part_of(s, context.kernels().lanes);
  if (xr.n <= 0) return;
  if (layer.shares == 1) gather(p, {0, xr.m}, context);
  float* half = context.scratch.get<float>(Use::partial, xr.m * xr.c_row, omp_get_thread_num());
  xr.c = half;
  xr.b.data = packed;
  xr.b.packed = true;
  xr.next = lines_of(p.left.data<float>(), p.left.count());
  multiply_share(xr, context, 0, 1);
  for_columns(p, columns, [&, begin = columns.begin, row = xr.c_row](const Columns& out) {
    Product left = left_times(p, half + out.range.begin - begin, row, out);
    if (after != nullptr) left.next = packed_lines(*after, context.kernels().lanes);
    multiply_share(left, context, 0, 1);
    add_inner(layer, out, context.kernels());
  });
}

void run_together(const Layer& layer, Context& context) {
  const KroneckerProduct& p = *layer.product;
  const std::int64_t m = p.x.shape()[0], n = p.x.shape()[1], lanes = context.kernels().lanes;
  float* half = p.half.data<float>();
  multiply({m, n, n, {p.x.data<float>(), n, 1}, {p.right.data<float>(), n, 1}, half, n}, context);
  for_columns(p, {0, n}, [&](const Columns& out) {
    multiply(left_times(p, half + out.range.begin, n, out), context);
  });
  parallel_ranges(n, m * n, lanes, [&](Range r) {
    for_columns(p, r, [&](const Columns& out) { add_inner(layer, out, context.kernels()); });
  });
}

int shares_of(const KroneckerProduct& p, std::int64_t vectors) {
  const std::int64_t team = omp_get_max_threads();
  if (multiply_adds(p) < kWorthSharing) return 1;
  if (vectors < 2 * team || p.x.count() * 4 > caches().l2 / 2 * team) return 0;
  return static_cast<int>(team);
}

/// The largest first: small ones fill what is left.
std::vector<Share> list_shares(const std::vector<Layer>& layers) {
  std::vector<Share> shares;
  for (const Layer& layer : layers) {
    for (int i = 0; i < layer.shares; ++i) shares.push_back({&layer, i});
  }
  const auto work = [](const Share& s) {
    return multiply_adds(*s.layer->product) / s.layer->shares;
  };
  std::stable_sort(shares.begin(), shares.end(),
                   [&](const Share& a, const Share& b) { return work(a) > work(b); });
  return shares;
}

class Kronecker final : public api::KroneckerPlan {
 public:
  Kronecker(std::vector<KroneckerProduct> products, Context& context)
      : KroneckerPlan(std::move(products)), context_(context) {
    std::int64_t vectors = 0, elements = 0;
    for (const KroneckerProduct& p : products_) {
      vectors += vectors_of(p);
      elements += packed_elements(p);
    }
    inner_ = core::Tensor({vectors}, core::DType::f64);
    packed_ = core::Tensor({elements}, core::DType::f32);
    double* inner = inner_.data<double>();
    float* packed = packed_.data<float>();
    for (KroneckerProduct& p : products_) {
      layers_.push_back({&p, shares_of(p, vectors_of(p)), inner, packed});
      inner += vectors_of(p);
      packed += packed_elements(p);
    }
    shares_ = list_shares(layers_);
    const auto pack = [&](const Share& s, const Share*) {
      const Part part = part_of(s, context_.kernels().lanes);
      if (part.product.n > 0) pack_panels(part.product, context_.kernels(), part.packed);
    };
    for_shares(pack, [] {});
  }

  void run() override {
    context_.ready();
    std::fill_n(inner_.data<double>(), inner_.count(), 0.0);
    for_shares([&](const Share& s, const Share* after) { run_share(s, after, context_); },
               [&] { gather_shared(layers_, context_); });
    for (const Layer& layer : layers_) {
      KroneckerProduct& p = *layer.product;
      if (layer.shares == 0) run_together(layer, context_);
      p.inner = std::accumulate(layer.inner, layer.inner + vectors_of(p), 0.0);
    }
  }

 private:
  std::int64_t vectors_of(const KroneckerProduct& p) const {
    const std::int64_t lanes = context_.kernels().lanes;
    return (p.x.shape()[1] + lanes - 1) / lanes;
  }
  std::int64_t packed_elements(const KroneckerProduct& p) const {
    const std::int64_t padded = vectors_of(p) * context_.kernels().lanes;
    return shares_of(p, vectors_of(p)) > 0 ? padded * p.x.shape()[1] : 0;
  }

  /// Every thread calls `first`; when all have, they share out body(Share, the one after it).
  template <class Body, class First>
  void for_shares(const Body& body, const First& first) const {
    std::atomic<std::size_t> next{0};
#pragma omp parallel if (layers_.size() > 1 || shares_.size() != 1)
    {
      first();
#pragma omp barrier
      const auto team = static_cast<std::size_t>(omp_get_num_threads());
      for (std::size_t i = next++; i < shares_.size(); i = next++)
        body(shares_[i], i + team < shares_.size() ? &shares_[i + team] : nullptr);
    }
  }

  Context& context_;
  core::Tensor inner_, packed_;
  std::vector<Layer> layers_;
  std::vector<Share> shares_;  // of layers_
};

}  // namespace

std::unique_ptr<api::KroneckerPlan> plan_kronecker(std::vector<KroneckerProduct> products,
                                                   Context& context) {
  return std::make_unique<Kronecker>(std::move(products), context);
}

}  // namespace isaribi::simd
